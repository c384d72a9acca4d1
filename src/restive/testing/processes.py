"""Other processes that the checks of an engine direct: each has a backend of its own on the same store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from typing import Any, Protocol

from restive.backends.port import Backend

from .stores import expect

__all__ = ["PATIENCE", "Open", "OtherProcess", "importable"]

PATIENCE = 30.0
"""Seconds after which what should have happened has not: an engine is restarted meanwhile."""


class Open(Protocol):
    """How a backend is made from a URL: a function or class at the top of a module."""

    def __call__(self, url: str, *, name: str) -> Backend: ...


def importable(opener: Open) -> tuple[str, str]:
    """The module and the name by which another process finds ``opener``. Raises ValueError."""
    module, name = getattr(opener, "__module__", "__main__"), getattr(opener, "__qualname__", "<")
    if module == "__main__" or "<" in name:
        raise ValueError(f"Another process cannot import {opener!r}: define it at the top of a module.")
    return module, name


class OtherProcess:
    """A process with the backend of ``store``; what it says is kept."""

    def __init__(self, opener: Open, url: str, store: str) -> None:
        self._said: defaultdict[str, list[list[Any]]] = defaultdict(list)
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "restive.testing.other_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        threading.Thread(target=self._read, daemon=True).start()
        self._ask("ready", *importable(opener), url, store)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in chain(self._process.stdout, ['["ended"]']):
            what, *particulars = json.loads(line)
            with self._changed:
                self._said[what].append(particulars)
                self._changed.notify_all()

    def _tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def _ask(self, answer: str, *words: object) -> None:
        count = len(self._said[answer]) + 1
        self._tell(*words)
        self.wait_for(lambda: len(self._said[answer]) >= count, repr(answer))

    def listen(self) -> None:
        """Let it listen; on return it does."""
        self._ask("listening", "listen")

    def start(self, how: str, stream: str, writer: str, most: int = 10**9) -> None:
        """Let it begin to ``write`` or to ``fold`` the numbers below ``most``, as ``writer:number``."""
        self._tell("start", how, stream, writer, most)

    def stop(self) -> None:
        """Let it end writing; on return it has."""
        self._ask("stopped", "stop")

    def finish(self) -> None:
        """Return when it has written all that it was to write."""
        self.wait_for(lambda: self._said["finished"], "'finished'")

    def words(self, what: str) -> list[list[Any]]:
        """The particulars of all it has said so far that begin with ``what``."""
        with self._changed:
            return self._said[what][:]

    def heard(self) -> list[bytes | None]:
        """What its listener has heard so far."""
        return [None if text is None else text.encode("latin-1") for (text,) in self.words("heard")]

    def until(self, what: str, more: int = 1) -> None:
        """Wait until it says ``what`` so many times more. Fails for an error of the other process."""
        said = self._said[what]
        count = len(said) + more
        self.wait_for(lambda: len(said) >= count, f"{what!r} {more} times more")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until ``condition`` holds, which is asked whenever the process has said something."""
        errors, ended = self._said["error"], self._said["ended"]
        with self._changed:
            self._changed.wait_for(lambda: condition() or errors or ended, PATIENCE)
            expect(not errors, f"In another process: {errors!r}.")
            last = {kind: said[-1] for kind, said in self._said.items() if said}
            expect(condition(), f"Another process has not said {what} in {PATIENCE:g} s, but {last!r}.")

    def kill(self) -> None:
        """SIGKILL; on return it is gone, and all it has said is there."""
        self._process.kill()
        self._process.wait()
        with self._changed:
            self._changed.wait_for(lambda: self._said["ended"], PATIENCE)

    def close(self) -> None:
        """End it."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
