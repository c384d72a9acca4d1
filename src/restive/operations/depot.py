"""Where finished parts and long results are kept, if not in the state folder: a folder, or an fsspec URL.

A key is ``<operation>/<name>``. What is put under a key never changes; it goes with all of its operation.
Every failure of the place is an ``OSError``: no other library's exception passes.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from ..errors import SettingError
from .disk import made, removed, replace, sync, sync_folder, whole

__all__ = ["Depot", "FolderDepot", "RemoteDepot", "check_parts", "open_depot"]

logger = logging.getLogger("restive.operations")

LOCAL = {"file", "local"}


class Depot(Protocol):
    """A place for files. Methods block and raise ``OSError``; ``FileNotFoundError`` for what is not there."""

    def put(self, source: Path, key: str, *, durable: bool) -> None:
        """Keep a copy of the file ``source``; it may be the file itself under a second name."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Keep these bytes."""
        ...

    def path(self, key: str) -> Path | None:
        """The file of a key, where this machine's file system has it."""
        ...

    def read(self, key: str, start: int, end: int | None) -> bytes:
        """The bytes from ``start`` to before ``end``."""
        ...

    def fetch(self, key: str, target: Path) -> None:
        """Have the bytes of a key in the file ``target``, whole or not at all."""
        ...

    def remove(self, identity: str) -> None:
        """Remove all of an operation; no error where there is nothing."""
        ...


class FolderDepot:
    """A folder of this machine, perhaps on another disk than the state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, source: Path, key: str, *, durable: bool) -> None:
        """As the protocol says."""
        target = self._folder / key
        made(target.parent)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES}:
                raise
            shutil.copyfile(source, target)
        if durable:
            sync(target)
            sync_folder(target.parent)

    def write(self, key: str, data: bytes) -> None:
        """As the protocol says."""
        made((self._folder / key).parent)
        replace(self._folder / key, data)

    def path(self, key: str) -> Path | None:
        """The file."""
        return self._folder / key

    def read(self, key: str, start: int, end: int | None) -> bytes:
        """As the protocol says."""
        with (self._folder / key).open("rb") as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)

    def fetch(self, key: str, target: Path) -> None:
        """As the protocol says. A copy: what a function does to its upload, no second attempt sees."""
        with whole(target) as fresh:
            shutil.copyfile(self._folder / key, fresh)

    def remove(self, identity: str) -> None:
        """As the protocol says."""
        removed(self._folder / identity)


class RemoteDepot:
    """What fsspec reaches under a URL, such as ``s3://bucket/folder``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _open(self) -> tuple[Any, str]:
        """The file system, which fsspec keeps for each process, and the path of this place in it."""
        import fsspec  # type: ignore[import-untyped]

        files, root = fsspec.url_to_fs(self._url)
        return files, root.rstrip("/")

    def put(self, source: Path, key: str, *, durable: bool) -> None:  # noqa: ARG002 - what it takes, it keeps
        """As the protocol says."""
        with _foreign("keep"):
            files, root = self._open()
            self._make(files, f"{root}/{key}")
            files.put_file(str(source), f"{root}/{key}")

    def write(self, key: str, data: bytes) -> None:
        """As the protocol says."""
        with _foreign("keep"):
            files, root = self._open()
            self._make(files, f"{root}/{key}")
            files.pipe_file(f"{root}/{key}", data)

    def _make(self, files: Any, path: str) -> None:
        """The operation's folder, where the place has folders; never a bucket."""
        with contextlib.suppress(Exception):
            files.mkdir(path.rpartition("/")[0], create_parents=False)

    def path(self, key: str) -> Path | None:  # noqa: ARG002
        """None."""
        return None

    def read(self, key: str, start: int, end: int | None) -> bytes:
        """As the protocol says."""
        with _foreign("read"):
            files, root = self._open()
            return bytes(files.cat_file(f"{root}/{key}", start=start, end=end))

    def fetch(self, key: str, target: Path) -> None:
        """As the protocol says."""
        with whole(target) as fresh, _foreign("fetch"):
            files, root = self._open()
            files.get_file(f"{root}/{key}", str(fresh))

    def remove(self, identity: str) -> None:
        """As the protocol says."""
        with contextlib.suppress(FileNotFoundError), _foreign("remove"):
            files, root = self._open()
            files.invalidate_cache()
            files.rm(f"{root}/{identity}", recursive=True)


@contextlib.contextmanager
def _foreign(verb: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"cannot {verb}: {type(error).__name__}: {error}") from error


def check_parts(parts: str | None) -> str | None:
    """The setting ``parts=`` with its folder made absolute. Raises ``SettingError`` for what cannot work."""
    if parts is None:
        return None
    scheme, separator, _ = parts.partition("://")
    if not separator:
        return str(Path(parts).expanduser().absolute())
    if scheme in LOCAL:
        path = unquote(urlsplit(parts).path)
        if not path.startswith("/"):
            raise SettingError(f"parts= takes an absolute path in a URL, as in file:///data, not {parts!r}.")
        return path
    _check_protocol(scheme, parts)
    return parts


def _check_protocol(scheme: str, parts: str) -> None:
    """Refuse what fsspec cannot open, without importing the libraries that speak with it."""
    try:
        from fsspec.registry import known_implementations, registry  # type: ignore[import-untyped]
    except ImportError:
        hint = "install restive[fsspec], or write the path of a folder"
        raise SettingError(f"parts={parts!r} needs fsspec: {hint}.") from None
    if scheme.partition("::")[0] in registry:
        return
    known = known_implementations.get(scheme.rpartition("::")[2])
    if known is None:
        raise SettingError(f"parts={parts!r}: fsspec knows no {scheme}://. A folder is written as its path.")
    module = known["class"].partition(".")[0]
    if not _is_installed(module):
        hint = known.get("err") or f"Install {module}."
        raise SettingError(f"parts={parts!r} needs {module}, which is not installed: {hint}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def open_depot(parts: str | None) -> Depot | None:
    """The place that a checked ``parts=`` names; None for the state folder."""
    if parts is None:
        return None
    return RemoteDepot(parts) if "://" in parts else FolderDepot(Path(parts))
