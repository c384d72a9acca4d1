"""The server's end of the line: each worker process has one connection, its lifeline.

A worker that meets the end of its connection knows that the server is gone, and ends. Workers of our own are
started with it. Those of a given executor connect to a socket, and prove that they know the key, which only
they are told.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

import msgspec

from .attending import Call
from .messages import Address, Answer, Ask, Began, Channel, Message, ToServer

__all__ = ["Line", "Worker"]

logger = logging.getLogger("restive.operations")

LONGEST_PATH = 100
"""Bytes of a socket's path that every system takes."""

DECODER = msgspec.msgpack.Decoder(ToServer)


class Worker:
    """The connection of one worker process. ``find`` gives the call of a number."""

    def __init__(self, connection: Connection, find: Callable[[int], Call | None]) -> None:
        self.channel = Channel(connection)
        self.gone = False
        self._find = find
        self._changed = threading.Condition()
        self._received = 0
        self._calls: set[Call] = set()

    def send(self, message: Message) -> None:
        """Send it, if somebody is there to receive it."""
        with contextlib.suppress(OSError):
            self.channel.send(message)

    def await_sent(self, count: int, seconds: float = 5.0) -> None:
        """Return once the first ``count`` messages were handled, or none will come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.gone or self._received >= count, seconds)

    def await_end(self, seconds: float) -> None:
        """Return once all that it has sent before its end was handled."""
        with self._changed:
            self._changed.wait_for(lambda: self.gone, seconds)

    def serve(self) -> None:
        """Handle what comes in until the connection ends."""
        try:
            while True:
                message = DECODER.decode(self.channel.receive())
                self._handle(message)
                with self._changed:
                    self._received += 1
                    self._changed.notify_all()
        except (EOFError, OSError):
            pass
        except msgspec.MsgspecError:
            logger.exception("A worker process sent what is no message; its line is cut.")
            self.channel.cut()
        finally:
            self.end()

    def end(self) -> None:
        """Nothing comes any more."""
        with self._changed:
            self.gone = True
            self._changed.notify_all()
            calls = list(self._calls)
        for call in calls:
            call.lost()
        self.channel.close()

    def attend(self, call: Call) -> None:
        """What the worker says about the call is answered here."""
        call.worker = self
        with self._changed:
            self._calls.add(call)

    def leave(self, call: Call) -> None:
        """The call is over."""
        with self._changed:
            self._calls.discard(call)

    def _handle(self, message: Any) -> None:
        call = self._find(message.job)
        if call is None:
            self._refuse(message)
        elif isinstance(message, Began):
            self.attend(call)
            call.began()
        else:
            try:
                call.handle(message)
            except Exception:
                logger.exception("Operation %s: a message of its worker could not be handled.", call.run.id)

    def _refuse(self, message: Any) -> None:
        """Of a call that is over nothing comes in."""
        if isinstance(message, Ask):
            self.send(Answer(message.number, stop="interrupted"))


class Line:
    """Opened when first asked for its address. All methods may be called from any thread."""

    def __init__(self, home: Callable[[], Path]) -> None:
        self._home = home
        self._identity, self._key = secrets.token_hex(8), secrets.token_bytes(32)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._temporary: Path | None = None
        self._calls: dict[int, Call] = {}
        self._workers: set[Worker] = set()

    def address(self) -> Address:
        """Where workers are to connect."""
        with self._lock:
            if self._listener is None:
                self._listener = self._open()
                threading.Thread(
                    target=self._accept, args=[self._listener], name="restive-line", daemon=True
                ).start()
            return Address(self._identity, str(self._listener.address), self._key, os.getpid())

    def adopt(self, connection: Connection) -> Worker:
        """The line of a worker that was started with one."""
        worker = Worker(connection, self._calls.get)
        threading.Thread(target=self._attend, args=[worker], name="restive-line-worker", daemon=True).start()
        return worker

    def number(self) -> int:
        """A number for a call."""
        return next(self._numbers)

    def enter(self, call: Call) -> None:
        """From now on messages about it are its own."""
        with self._lock:
            self._calls[call.number] = call

    def leave(self, call: Call) -> None:
        """It is over."""
        with self._lock:
            self._calls.pop(call.number, None)
        if call.worker is not None:
            call.worker.leave(call)

    def calls(self) -> list[Call]:
        """Those that are not over."""
        with self._lock:
            return list(self._calls.values())

    def dismiss(self) -> list[Worker]:
        """The workers that are connected are to end; what they have sent before is still handled."""
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            worker.channel.finish()
        return workers

    def close(self) -> None:
        """Accept no more; who is connected stays so."""
        with self._lock:
            listener, self._listener = self._listener, None
            temporary, self._temporary = self._temporary, None
        if listener is None:
            return
        with contextlib.suppress(OSError, EOFError):  # wakes who waits in accept()
            Client(str(listener.address)).close()
        with contextlib.suppress(OSError):
            listener.close()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)

    # Accepting

    def _open(self) -> Listener:
        if sys.platform == "win32":
            return Listener(None, "AF_PIPE", backlog=64)
        folder = self._home()
        _sweep(folder)
        path = folder / f"line-{secrets.token_hex(4)}.sock"
        if len(os.fsencode(path)) > LONGEST_PATH:
            self._temporary = Path(tempfile.mkdtemp(prefix="restive-"))
            path = self._temporary / "line.sock"
        return Listener(str(path), "AF_UNIX", backlog=64)

    def _accept(self, listener: Listener) -> None:
        while listener is self._listener:
            try:
                connection = listener.accept()
            except OSError:  # closed, or no file descriptors are left
                if listener is not self._listener:
                    return
                logger.exception("A worker process cannot connect.")
                threading.Event().wait(0.1)
                continue
            threading.Thread(
                target=self._serve, args=[connection], name="restive-line-worker", daemon=True
            ).start()

    def _serve(self, connection: Connection) -> None:
        self._attend(Worker(connection, self._calls.get), connection)

    def _attend(self, worker: Worker, stranger: Connection | None = None) -> None:
        with self._lock:
            self._workers.add(worker)
        try:
            if stranger is not None:
                deliver_challenge(stranger, self._key)
                answer_challenge(stranger, self._key)
            worker.serve()
        except (AuthenticationError, EOFError, OSError):
            worker.end()
        finally:
            with self._lock:
                self._workers.discard(worker)


def _sweep(folder: Path) -> None:
    """Remove the sockets of servers that were killed."""
    for path in folder.glob("line-*.sock"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
