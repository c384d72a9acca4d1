"""Whether the store itself was slow: a lease of a second may be lost by that, although no fault struck.

It appends to a stream of its own, past the wires, and notes when an answer took long. What a machine that has
no processor or no disk for its store does is no fault of ours; the nodes note their own share of it.
"""

from __future__ import annotations

import threading
import time

from faults.journal import SLOW, Note
from restive.backends import open_backend
from restive.errors import RestiveError

EVERY = 0.1


class Witness:
    """Of the store at ``url``, from ``start`` until ``stop``."""

    def __init__(self, url: str) -> None:
        self._backend = open_backend(url, name="witness")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.notes: list[Note] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(10)
        self._backend.close()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY):
            before = time.monotonic()
            try:
                self._backend.append("seen", [b"x"], keep=10)
            except RestiveError:
                continue  # a fault, which is in the history already
            took = time.monotonic() - before
            if took > SLOW:
                self.notes.append(Note("late", before, detail={"seconds": round(took, 2)}))
