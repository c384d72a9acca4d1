"""The conformance suite for backends: every promise of the port, put to any adapter in one call.

It needs no test framework. ``check_backend`` runs everything and gives one verdict;
``BACKEND_CHECKS`` are the same checks one by one, for a framework that likes to name them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

from . import (
    announcement_checks,
    batch_checks,
    closing_checks,
    conditional_checks,
    keep_checks,
    name_checks,
    record_checks,
    stream_checks,
)
from .stores import Check, Factory, Stores

__all__ = ["BACKEND_CHECKS", "BackendBroken", "check_backend", "run_check"]

BACKEND_CHECKS: dict[str, Check] = {
    f"{group}-{check.__name__}": check
    for group, checks in (
        ("announcements", announcement_checks.CHECKS),
        ("streams", stream_checks.CHECKS),
        ("conditional", conditional_checks.CHECKS),
        ("keep", keep_checks.CHECKS),
        ("records", record_checks.CHECKS),
        ("names", name_checks.CHECKS),
        ("batches", batch_checks.CHECKS),
        ("closing", closing_checks.CHECKS),
    )
    for check in checks
}
"""Name and check, for ``run_check``."""


class BackendBroken(AssertionError):
    """A backend does not keep what the port promises; the message lists what and ``failures`` holds it.

    ``failures`` maps the name of a check to its error.
    """

    def __init__(self, failures: dict[str, Exception], checks: Mapping[str, Callable[..., None]]) -> None:
        self.failures = failures
        lines = [f"{len(failures)} of {len(checks)} checks failed."]
        for name, error in failures.items():
            promise = (checks[name].__doc__ or "").strip()
            lines += ["", f"{name}: {promise}", f"    {_found(error)}"]
        super().__init__("\n".join(lines))


def _found(error: Exception) -> str:
    """What a check found; for an error that it did not expect, also where it came from."""
    if type(error) is AssertionError:
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"


def run_check(name: str, factory: Factory) -> None:
    """Run one of ``BACKEND_CHECKS``. Raises what it finds."""
    stores = Stores(factory, name)
    try:
        BACKEND_CHECKS[name](stores)
    finally:
        stores.close()


def check_backend(factory: Factory) -> tuple[str, ...]:
    """Put a backend through every check of the port and return their names.

    ``factory`` takes the name of a store (ASCII letters, digits, ``-`` and ``_``) and returns a new backend
    on it: the same name again must give the same store where the backend is shared, a new name an empty
    one. It takes some seconds. Raises ``BackendBroken``, which lists all that failed.
    """
    failures: dict[str, Exception] = {}
    for name in BACKEND_CHECKS:
        try:
            run_check(name, factory)
        except Exception as error:  # noqa: BLE001 - it becomes part of the verdict
            failures[name] = error
    if failures:
        raise BackendBroken(failures, BACKEND_CHECKS)
    return tuple(BACKEND_CHECKS)
