"""The backends: one small port, its adapters, and how a URL becomes one of them.

Nothing is opened, and no engine imported, before it is used.
"""

from __future__ import annotations

from .location import home, resolve, sqlite_path
from .port import LOST, Append, Backend, Delete, Drop, Listener, Page, Record, Save, Step
from .threads import offload

__all__ = [
    "LOST",
    "Append",
    "Backend",
    "Delete",
    "Drop",
    "Listener",
    "Page",
    "Record",
    "Save",
    "Step",
    "home",
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
    from .sqlite import SqliteBackend

    return SqliteBackend(sqlite_path(resolved), name=name)
