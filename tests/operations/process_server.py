"""A process that runs operations in processes of its own, for tests that end it: see ``main``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import process_functions as functions
from process_calls import Calls, eventually

from restive.backends.sqlite import SqliteBackend


def engine_of(name: str) -> Any:
    if name in {"processes", "loky"}:
        return name
    return ProcessPoolExecutor(2, multiprocessing.get_context(name))


def main(engine: str, home: Path, how: str) -> None:
    """One worker idle and one busy; their ids are printed once that is so. ``how`` it then goes on:

    ``wait``: for ever; ``fork``: with a forked child of its own besides; ``leave``: returns, while the busy
    function runs on and does not check; ``drain``: for a signal, and then until the busy function has ended.
    """
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    calls = Calls(SqliteBackend(home / "it.db"), home, engine_of(engine))
    both = [calls.start(functions.until, path=home / "both") for _ in range(2)]
    pids = {int(each.said()) for each in both}
    (home / "both").touch()
    for each in both:
        each.end()
    busy = calls.start(functions.deaf if how == "leave" else functions.until, path=home / "never")
    pids.add(int(busy.said()))
    child = os.fork() if how == "fork" else 0
    if how == "fork" and child == 0:
        eventually((home / "over").exists, 60)
        os._exit(0)
    print(*pids, flush=True)
    if how == "drain":
        asked.wait()
        (home / "never").touch()
        print(busy.end().status)
    elif how != "leave":
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
