"""A backend in a process of its own, which does what the lines of its input say and tells what came of it.

The first line names the backend: how it is opened, its URL, its store. Each further line is a command, each
line of output a list: what happened, and its particulars. All are JSON. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from importlib import import_module
from typing import Any

from restive.backends.port import Backend
from restive.errors import BackendUnavailable, Conflict

PACE = 0.001
"""Seconds between two numbers that are written."""

PAUSE = 0.02
"""Seconds after a call that failed."""

_saying = threading.Lock()


def say(*words: object) -> None:
    """Tell the parent."""
    line = json.dumps(words)
    with _saying:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def hear(payload: bytes | None) -> None:
    """A listener that tells what it hears."""
    say("heard", None if payload is None else payload.decode("latin-1"))


class Member:
    """What the commands do with the backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def listen(self) -> None:
        """Tell whatever is announced from now on."""
        self._backend.listen(hear)
        say("listening")

    def start(self, how: str, stream: str, writer: str, most: int) -> None:
        """Begin to ``write`` or ``fold`` the numbers below ``most``, in a thread."""
        function = {"write": self._write, "fold": self._fold}[how]

        def run() -> None:
            try:
                function(stream, writer, most)
                say("finished")
            except Exception as error:  # noqa: BLE001 - the parent fails with it
                say("error", repr(error))

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End writing."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        say("stopped")

    def _numbers(self, most: int) -> Iterator[int]:
        for n in range(most):
            if self._over.wait(PACE):
                return
            yield n

    def _write(self, stream: str, writer: str, most: int) -> None:
        """Append and announce each number once, whatever becomes of it."""
        for n in self._numbers(most):
            item = f"{writer}:{n}".encode()
            try:
                say("appended", n, self._backend.append(stream, [item]))
                self._backend.announce(item)
                say("announced", n)
            except BackendUnavailable as error:
                say("failed", n, str(error))
                self._over.wait(PAUSE)

    def _fold(self, stream: str, writer: str, most: int) -> None:
        """Append each number after all that was read before, as often as it takes until it is there."""
        items: Sequence[bytes] = ()
        end = ""
        for n in self._numbers(most):
            item, unknown = f"{writer}:{n}".encode(), False
            while not self._over.is_set():
                try:
                    page = self._backend.read(stream, end)
                    items, end = page.items, page.next
                    if item in items:
                        say("folded" if unknown else "error", n, "found after a Conflict")
                        break
                    if page.up_to_date:
                        end = self._backend.append(stream, [item], after=end)
                        say("folded", n)
                        break
                except Conflict:
                    continue
                except BackendUnavailable as error:
                    unknown = True
                    say("failed", n, str(error))
                    self._over.wait(PAUSE)


def main() -> None:
    """Do what the input says."""
    module, name, url, store = json.loads(sys.stdin.readline())
    opener: Any = reduce(getattr, name.split("."), import_module(module))
    member = Member(opener(url, name=store))
    commands: dict[str, Callable[..., None]] = {
        "listen": member.listen,
        "start": member.start,
        "stop": member.stop,
    }
    say("ready")
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            commands[command](*arguments)
        except BackendUnavailable as error:
            say("error", str(error))
    os._exit(0)  # at once: what is open is the engine's to notice


if __name__ == "__main__":
    main()
