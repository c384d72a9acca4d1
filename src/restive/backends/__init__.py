"""The backends: one small port, its adapters, and how a URL becomes one of them.

Nothing is opened, and no engine imported, before it is used.
"""

from __future__ import annotations

from restive.errors import SettingError

from .location import engine_of, home, is_server, resolve, sqlite_path
from .port import LOST, Announce, Append, Backend, Delete, Drop, Listener, Page, Record, Save, Step, Trimmed
from .threads import offload

__all__ = [
    "LOST",
    "Announce",
    "Append",
    "Backend",
    "Delete",
    "Drop",
    "Listener",
    "Page",
    "Record",
    "Save",
    "Step",
    "Trimmed",
    "home",
    "is_server",
    "offload",
    "open_backend",
    "resolve",
]


def open_backend(url: str, *, name: str) -> Backend:
    """The backend that ``url`` names, for the app called ``name``; apps that share a store do not meet.

    Opens nothing: the first call does. Raises ``SettingError`` for a URL that cannot work, and what
    ``resolve`` raises.
    """
    resolved = resolve(url)
    if resolved == "memory:":
        from .memory import MemoryBackend

        return MemoryBackend(name=name)
    engine = engine_of(resolved)
    if engine in NEEDS:
        return _open_server(engine, resolved, name)
    from .sqlite import SqliteBackend

    return SqliteBackend(sqlite_path(resolved), name=name)


NEEDS = {"redis": "redis", "nats": "nats", "postgres": "psycopg"}
"""The package that each engine's adapter needs; its extra has the engine's name."""


def _open_server(engine: str, url: str, name: str) -> Backend:
    try:
        if engine == "redis":
            from .redis import RedisBackend

            return RedisBackend(url, name=name)
        if engine == "nats":
            from .nats import NatsBackend

            return NatsBackend(url, name=name)
        from .postgres import PostgresBackend

        return PostgresBackend(url, name=name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != NEEDS[engine]:
            raise
        raise SettingError(
            f"backend={engine}: needs the package {error.name}: pip install 'restive[{engine}]'."
        ) from None
