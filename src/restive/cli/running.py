"""Running uvicorn as ``restive serve`` does: many files, one process or several, and an orderly end.

A signal once drains (status 0), twice ends at once. Several processes accept from one listening socket,
which the first of them holds: it outlives each of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.logging import DefaultFormatter
from uvicorn.supervisors import ChangeReload, Multiprocess
from uvicorn.supervisors.multiprocess import Process

from ..telemetry import siblings
from ..transports.files import FEW, Overflow, raise_limit, reserve

__all__ = ["Config", "run"]

log = logging.getLogger("uvicorn.error")

MOST_PAUSE = 30.0
"""Seconds after which a worker that could not start is started again, at most."""


class Config(uvicorn.Config):
    """What uvicorn is told; the loop that it makes survives that no file is left."""

    def configure_logging(self) -> None:
        """As uvicorn does; what no handler of the app takes looks the same."""
        super().configure_logging()
        if logging.lastResort is not None:
            logging.lastResort.setFormatter(DefaultFormatter("%(levelprefix)s %(message)s"))

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the loop of a serving process."""
        make = super().get_loop_factory()
        return None if make is None else lambda: _prepared(make())


def _prepared(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    parent = multiprocessing.parent_process()
    if parent is not None and os.name == "posix":
        # One that was killed could not say so: its workers would hold the port for ever.
        loop.add_reader(parent.sentinel, _orphaned, loop, parent.sentinel)
    if isinstance(loop, asyncio.SelectorEventLoop):
        loop.set_exception_handler(Overflow())
    return loop


def _orphaned(loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)
    log.error("The parent process is gone: this one ends too.")
    signal.raise_signal(signal.SIGTERM)


def run(config: Config) -> None:
    """Serve until a signal ends it. Exits with status 3 where the app cannot start."""
    tell_limit(raise_limit())
    if config.should_reload:
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[config.bind_socket()]).run()
    elif config.workers > 1:
        with siblings.shared():
            workers = Workers(config, sockets=[config.bind_socket()])
            workers.run()
        if workers.failed:
            sys.exit(STARTUP_FAILURE)
    else:
        _run_one(config)


def tell_limit(files: int | None) -> None:
    """Say how many clients a process can hold."""
    if files is None:
        return
    log.info("Each process may open %d files: room for %d clients.", files, files - reserve(files))
    if files < FEW:
        log.warning(
            "That is few. Give the server more: LimitNOFILE=100000 in its systemd unit, "
            "or ulimit -n 100000 before it is started."
        )


def _run_one(config: Config) -> None:
    config.load_app()
    server = Server(config)
    signal.signal(signal.SIGTERM, _ended)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _ended(_number: int, _frame: FrameType | None) -> None:
    """The server raises the signal again once all is stopped; dying of it would be no status 0."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


class Server(uvicorn.Server):
    """A server that any second signal ends."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)


class Flag(threading.Event):
    """An event that a signal handler can set while its own thread waits: it takes no lock."""

    _raised = False

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._raised

    def set(self) -> None:
        """Set it."""
        self._raised = True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or ``timeout`` seconds. Returns whether it was set."""
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._raised and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.05, left))
        return self._raised


class Workers(Multiprocess):
    """uvicorn's processes; a signal counts also while it waits for one of them.

    Where a worker cannot start and none has ever served, all ends: ``failed``. Once one has, what is in the
    way will pass (a store that is away, a full disk), so the others go on, and it is started again, later
    each time.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.should_exit = Flag()
        self.failed = False
        self._served = False
        self._resting: dict[int, float] = {}
        """When to start the worker of a place again."""
        self._failures: Counter[int] = Counter()
        """Starts of a place that failed in a row."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def keep_subprocess_alive(self) -> None:
        """Start a new worker for each that is gone, or that does not answer."""
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if place in self._resting:
                if self._resting[place] <= time.monotonic():
                    self._start(place)
            elif worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
                self._look(place, worker)
            else:
                self._replace(place, worker)

    def restart_all(self) -> None:
        """Replace each worker by a new one, which serves before the old one ends."""
        super().restart_all()
        self._resting.clear()

    def _look(self, place: int, worker: Process) -> None:
        if (not self._served or self._failures[place]) and worker.is_ready():
            self._served = True
            self._failures[place] = 0

    def _replace(self, place: int, worker: Process) -> None:
        worker.kill()  # it may hang
        worker.join()
        if worker.exitcode != STARTUP_FAILURE:
            log.info("Child process [%s] died", worker.pid)
            self._start(place)
        elif self._served:
            self._failures[place] += 1
            pause = min(MOST_PAUSE, 2.0 ** (self._failures[place] - 1))
            log.error("Child process [%s] failed to start; again in %g s", worker.pid, pause)
            self._resting[place] = time.monotonic() + pause
        else:
            log.error("Child process [%s] failed to start, stopping the parent process.", worker.pid)
            self.failed = True
            self.should_exit.set()

    def _start(self, place: int) -> None:
        self._resting.pop(place, None)
        self.processes[place] = Process(self.config, self.sockets)
        self.processes[place].start()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if not self.should_exit.is_set():
            log.info("Received %s, exiting.", signal.Signals(number).name)
            self.should_exit.set()
            return
        for worker in self.processes:
            with contextlib.suppress(OSError):
                worker.process.kill()
