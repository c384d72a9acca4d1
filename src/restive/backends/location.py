"""Which backend a URL names, and the folder in which Restive keeps its state.

``resolve`` makes every URL say the same wherever it is read later: ``auto`` becomes ``memory:`` or
``sqlite:``, a relative path an absolute one. As elsewhere, ``sqlite:///x.db`` is relative to the
working directory and ``sqlite:////var/x.db`` absolute. What a network backend's URL says, its adapter judges.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import quote, unquote

from restive.errors import BackendUnavailable, SettingError

from .filesystems import network_filesystem
from .surroundings import one_of_several, started_by

__all__ = ["engine_of", "home", "is_server", "resolve", "sqlite_path"]

_log = logging.getLogger("restive.backends")
_SQLITE = "sqlite:///"
_FILE = "restive.db"
_SERVERS = {
    "redis": "redis",
    "rediss": "redis",
    "nats": "nats",
    "tls": "nats",
    "postgresql": "postgres",
    "postgres": "postgres",
}
"""The schemes of backends that are servers, and their engines."""
_WAY_OUT = "Set RESTIVE_HOME to a folder of a local disk that only this user may write in"


def home(app_folder: Path | None = None) -> Path:
    """The state folder: ``RESTIVE_HOME``, else ``.restive`` in ``app_folder`` (default: where we are).

    It is made where it does not exist, readable to its owner only, with a ``.gitignore``. Raises
    ``BackendUnavailable`` where it cannot be written, anyone may write in it, or it is on a network.
    """
    named = os.environ.get("RESTIVE_HOME")
    folder = (Path(named).expanduser() if named else (app_folder or Path()) / ".restive").absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder)
        _ignore(folder)
    except OSError as error:
        raise BackendUnavailable(
            f"The state folder {folder} is not usable: {error.strerror}. {_WAY_OUT}."
        ) from error
    return folder


def _check(folder: Path) -> None:
    if folder.stat().st_mode & 0o002 and os.name == "posix":
        raise BackendUnavailable(f"Anyone may write in the state folder {folder}. {_WAY_OUT}.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BackendUnavailable(f"The state folder {folder} is not writable. {_WAY_OUT}.")
    kind = network_filesystem(folder)
    if kind:
        raise BackendUnavailable(
            f"The state folder {folder} is on a network file system ({kind}). {_WAY_OUT}."
        )


def _ignore(folder: Path) -> None:
    """Keep the state out of the app's repository."""
    try:
        with (folder / ".gitignore").open("x", encoding="ascii") as file:
            file.write("*\n")
    except FileExistsError:
        pass


def resolve(url: str, *, app_folder: Path | None = None) -> str:
    """The backend that ``url`` means here: ``memory:``, ``sqlite:///`` and a full path, or a server's.

    ``auto`` is ``memory:`` in a single process, else a file in ``home(app_folder)``. Raises
    ``SettingError`` for a URL that cannot work, ``BackendUnavailable`` as ``home`` does.
    """
    if url == "auto":
        if not one_of_several(os.environ, started_by()):
            return "memory:"
        return _sqlite_url(home(app_folder) / _FILE)
    if url in {"memory:", "memory://"}:
        if one_of_several(os.environ, started_by()):
            _log.error(
                "The backend memory: serves one process, but this is one of several: changes made in "
                "the others are not seen here. Leave backend= away, or name a file: sqlite:///restive.db."
            )
        return "memory:"
    if is_server(url):
        return url
    return _sqlite_url(sqlite_path(url))


def engine_of(url: str) -> str:
    """Which engine a URL names, by its scheme: ``redis``, ``nats``, ``postgres``; else the scheme itself."""
    scheme = url.partition(":")[0].lower()
    return _SERVERS.get(scheme, scheme)


def is_server(url: str) -> bool:
    """Whether a URL names a server, which may be away for a while, not a store of this machine."""
    return engine_of(url) in _SERVERS.values()


def sqlite_path(url: str) -> Path:
    """The full path in a ``sqlite:`` URL. Raises ``SettingError`` for any other."""
    scheme = url.partition(":")[0]
    if scheme != "sqlite":  # the rest is not repeated: it may hold a password
        raise SettingError(
            f"There is no backend {scheme!r}. There are: auto, memory:, "
            "sqlite:///path, redis://, nats:// and postgresql://."
        )
    path = unquote(url.removeprefix(_SQLITE))
    if not url.startswith(_SQLITE) or not path or "\0" in path:
        raise SettingError(f"A sqlite URL is sqlite:///relative/path or sqlite:////full/path, not {url!r}.")
    if "?" in url or "#" in url:
        raise SettingError(f"A sqlite URL takes no options; write ? as %3F and # as %23 in {url!r}.")
    if path == ":memory:":
        raise SettingError("For a store in memory write memory: instead of sqlite:///:memory:.")
    return Path(path).absolute()


def _sqlite_url(path: Path) -> str:
    return _SQLITE + quote(path.as_posix(), safe="/:")
