"""What every check of the backend suite uses: stores to try, an ear for announcements, ``expect``.

A failure is an AssertionError whose message says what the port asks for and what was found.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from restive.backends.port import Backend

__all__ = ["Check", "Ear", "Factory", "Stores", "at_once", "expect", "refused"]

Factory = Callable[[str], Backend]
"""A backend on the store of that name: the same name, the same store; a new name, an empty one."""

PATIENCE = 10.0
"""Seconds after which what should have happened has not."""


def expect(condition: object, message: str) -> None:
    """Fail with ``message`` unless ``condition``."""
    if not condition:
        raise AssertionError(message)


@contextmanager
def refused(kind: type[Exception], what: str) -> Iterator[None]:
    """Fail unless the block raises ``kind``."""
    try:
        yield
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{what} should raise {kind.__name__}; it raised {error!r}.") from error
    raise AssertionError(f"{what} should raise {kind.__name__}; nothing was raised.")


class Ear:
    """A listener that keeps what it heard."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.heard: list[bytes | None] = []

    def __call__(self, payload: bytes | None) -> None:
        with self._changed:
            self.heard.append(payload)
            self._changed.notify_all()

    def until(self, payload: bytes) -> list[bytes]:
        """Wait for ``payload``; what was heard by then, repetitions left out (delivery is at least once)."""
        with self._changed:
            came = self._changed.wait_for(lambda: payload in self.heard, PATIENCE)
            expect(came, f"{payload!r} was announced, but not heard within {PATIENCE:g} s: {self.heard!r}.")
            return list(dict.fromkeys(p for p in self.heard if p is not None))


class Stores:
    """Gives a check its backends and closes them after it."""

    def __init__(self, factory: Factory, check: str) -> None:
        self._factory = factory
        self._check = check
        self._names: dict[int, str] = {}
        self._opened: list[Backend] = []

    def fresh(self) -> Backend:
        """A backend on an empty store."""
        return self._open(f"{self._check}-{len(self._opened)}")

    def peer(self, backend: Backend) -> Backend:
        """Another backend on the same store, as another process would have; itself where it is not shared."""
        return self._open(self._names[id(backend)]) if backend.shared else backend

    def _open(self, name: str) -> Backend:
        backend = self._factory(name)
        self._names[id(backend)] = name
        self._opened.append(backend)
        return backend

    def close(self) -> None:
        """Close all of them."""
        for backend in self._opened:
            backend.close()


Check = Callable[[Stores], None]


def at_once(*calls: Callable[[], None], patience: float = 4 * PATIENCE) -> None:
    """Run ``calls`` in a thread each; the first of their errors is raised when all have ended, in time."""
    errors: list[Exception] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], None]) -> None:
        start.wait(PATIENCE)
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised below, in the thread of the check
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    expect(not any(thread.is_alive() for thread in threads), "Calls from several threads have not ended.")
    if errors:
        raise errors[0]


def only(heard: Sequence[bytes], start: bytes) -> list[bytes]:
    """Those of ``heard`` that begin with ``start``."""
    return [payload for payload in heard if payload.startswith(start)]
