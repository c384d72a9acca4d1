"""The second part of the suite for backends: what needs other processes, and an engine that may be harmed."""

from __future__ import annotations

import secrets

from restive.backends import open_backend

from .backend_suite import BackendBroken
from .engine_checks import CHECKS, Engine, EngineCheck, Trial
from .processes import Open, importable

__all__ = ["ENGINE_CHECKS", "check_engine", "run_engine_check"]

ENGINE_CHECKS: dict[str, EngineCheck] = {check.__name__: check for check in CHECKS}
"""Name and check, for ``run_engine_check``."""


def run_engine_check(name: str, engine: Engine, opener: Open = open_backend) -> None:
    """Run one of ``ENGINE_CHECKS``, as ``check_engine`` does. Raises what it finds."""
    importable(opener)
    trial = Trial(engine, opener, f"{name}-{secrets.token_hex(4)}")
    try:
        ENGINE_CHECKS[name](trial)
    except BaseException:
        engine.restart()  # the next check begins with one that is well
        raise
    finally:
        trial.close()


def check_engine(engine: Engine, opener: Open = open_backend) -> tuple[str, ...]:
    """Put a shared backend through every check with other processes and a harmed engine.

    ``engine`` runs, for this test alone: it is killed, wiped and paused. ``opener`` takes its URL and the
    name of a store and returns a new backend; it stands at the top of a module, where other processes import
    it. It takes about a minute. Returns the names of the checks. Raises ``BackendBroken``, which lists all
    that failed, and ``ValueError`` for an opener that cannot be imported.
    """
    importable(opener)
    failures: dict[str, Exception] = {}
    for name in ENGINE_CHECKS:
        try:
            run_engine_check(name, engine, opener)
        except Exception as error:  # noqa: BLE001 - it becomes part of the verdict
            failures[name] = error
    if failures:
        raise BackendBroken(failures, ENGINE_CHECKS)
    return tuple(ENGINE_CHECKS)
