"""Is this process one of several that serve the same app?

``one_of_several`` is a function of what it is given; ``started_by`` finds out how this process was
started. In doubt the answer is yes: a shared store in a single process costs little, a store for
each of several processes loses announcements.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Start", "one_of_several", "started_by"]

SERVERS = frozenset({"uvicorn", "granian", "hypercorn"})


@dataclass(frozen=True, slots=True)
class Start:
    """How ``multiprocessing`` started this process."""

    package: str
    """Top-level package of the function that was started."""
    workers: int | None = None
    """How many such processes its server was told to run; None where it does not say."""
    reload: bool = False
    """The server replaces its one process when code changes."""


def one_of_several(environ: Mapping[str, str], start: Start | None) -> bool:
    """Whether a server is likely to run this app in more than one process.

    ``environ`` is the process's environment, ``start`` tells how a server's supervisor started it;
    None: no supervisor did. gunicorn forks, and names itself in the environment.
    """
    if _number(environ.get("WEB_CONCURRENCY")) > 1 or environ.get("SERVER_SOFTWARE", "").startswith(
        "gunicorn"
    ):
        return True
    if start is None or start.package not in SERVERS or start.reload:
        return False
    return start.workers is None or start.workers > 1


def _number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return 0


def started_by() -> Start | None:
    """How this process was started; None where ``multiprocessing`` did not do it.

    uvicorn and hypercorn hand their ``config`` to each worker; it is read from the arguments that
    ``multiprocessing`` keeps, and taken as unknown where it is not there.
    """
    if multiprocessing.parent_process() is None:
        return None
    process: Any = multiprocessing.current_process()
    target = getattr(process, "_target", None)
    config = (getattr(process, "_kwargs", None) or {}).get("config")
    workers = getattr(config, "workers", None)
    return Start(
        package=str(getattr(target, "__module__", "")).partition(".")[0],
        workers=workers if isinstance(workers, int) else None,
        reload=bool(getattr(config, "should_reload", False) or getattr(config, "use_reloader", False)),
    )
