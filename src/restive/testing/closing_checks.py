"""What the port promises of opening, closing and signs of life, as checks for any backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count

from restive.backends.port import Append, Backend, Record, Save
from restive.errors import BackendUnavailable

from .stores import PATIENCE, Check, Ear, Stores, at_once, expect, only
from .stream_checks import read_all

__all__ = ["CHECKS"]

END = b"the end"


def probe(stores: Stores) -> None:
    """A probe of an engine that is alive returns, as the first call, while it listens and after ``close``."""
    backend = stores.fresh()
    backend.probe()
    backend.listen(Ear())
    backend.probe()
    backend.close()
    backend.probe()


def close_and_open_again(stores: Stores) -> None:
    """After ``close`` the next call opens anew; a shared store has kept everything."""
    backend = stores.fresh()
    version = backend.save("r", b"value", version=0)
    end = backend.append("s", [b"item"])
    backend.close()
    found = backend.load("r")
    if not backend.shared:
        expect(found in {None, Record("r", b"value", version)}, f"After close the record is {found!r}.")
        return
    expect(found == Record("r", b"value", version), f"After close the record is {found!r}.")
    backend.close()
    expect(backend.append("s", [b"next"], after=end) > end, "After close the stream has another end.")


_CALLS: tuple[Callable[[Backend], object], ...] = (
    lambda backend: backend.announce(b"x"),
    lambda backend: backend.listen(Ear()),
    lambda backend: backend.append("s", [b"x"]),
    lambda backend: backend.drop("s"),
    lambda backend: backend.load("r"),
    lambda backend: backend.apply([Save("r", b"", None), Append("s", [b"x"])]),
    lambda backend: backend.scan(""),
    lambda backend: backend.delete("r"),
    lambda backend: backend.probe(),
)


def any_call_opens(stores: Stores) -> None:
    """Whichever call comes first, of a new backend and after ``close``, opens it."""
    backend = stores.fresh()
    for call in _CALLS:
        backend.close()
        call(backend)
        call(stores.fresh())


def close_ends_listening(stores: Stores) -> None:
    """After ``close`` old listeners hear nothing; the next call opens anew, and new listeners hear."""
    backend, old, new = stores.fresh(), Ear(), Ear()
    backend.listen(old)
    backend.announce(b"before")
    old.until(b"before")
    backend.close()
    backend.close()
    backend.listen(new)
    backend.announce(END)
    new.until(END)
    expect(END not in old.heard, "A listener was called after close().")


def stop_after_close(stores: Stores) -> None:
    """What ``listen`` returned may be called after ``close``, and ends no listener of later."""
    backend, ear = stores.fresh(), Ear()
    stop = backend.listen(Ear())
    backend.close()
    backend.listen(ear)
    stop()
    backend.announce(END)
    ear.until(END)


def close_while_others_call(stores: Stores) -> None:
    """Calls under way in a backend that is closed are done, once, or raise BackendUnavailable."""
    backend = stores.fresh()
    over = threading.Event()
    acknowledged: dict[int, list[bytes]] = {}

    def write(number: int) -> None:
        done = acknowledged[number] = []
        try:
            for n in count():
                if over.is_set():
                    return
                item = b"%d:%d" % (number, n)
                with suppress(BackendUnavailable):
                    backend.append("s", [item])
                    done.append(item)
                    backend.apply([Save(f"r{number}", item, None)])
                    backend.load(f"r{number}")
        finally:
            over.set()

    def close() -> None:
        try:
            deadline = time.monotonic() + PATIENCE
            for _ in range(10):
                seen = len(acknowledged.get(0, ()))
                backend.close()
                while len(acknowledged.get(0, ())) <= seen and time.monotonic() < deadline:
                    if over.wait(0.001):
                        return
        finally:
            over.set()

    at_once(close, *(partial(write, number) for number in range(3)))
    for number, items in acknowledged.items():
        expect(items, f"Thread {number} got nothing done while its backend was closed again and again.")
        if backend.shared:
            _expect_each_once(read_all(backend, "s"), items, b"%d:" % number)


def _expect_each_once(found: list[bytes], acknowledged: list[bytes], writer: bytes) -> None:
    own = only(found, writer)
    expect(len(own) == len(set(own)), f"Of {writer!r} some items are there twice: {own!r}.")
    missing = set(acknowledged) - set(own)
    expect(not missing, f"Acknowledged, but not there: {missing!r}.")
    expect(own == sorted(own, key=lambda item: int(item[len(writer) :])), f"Out of order: {own!r}.")


CHECKS: tuple[Check, ...] = (
    probe,
    close_and_open_again,
    any_call_opens,
    close_ends_listening,
    stop_after_close,
    close_while_others_call,
)
