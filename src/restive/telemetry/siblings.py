"""The numbers of all processes that serve one app on one host, from any of them.

``RESTIVE_METRICS_DIR`` names a folder that they share; ``restive serve --workers`` makes one. Each process
answers there, on a Unix socket with its process id as name, whoever connects: the folder is open to its user
only. Nothing is added up: each process keeps its own series, so that one which is replaced resets no other.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from . import snapshot
from .snapshot import Snapshot

__all__ = ["FOLDER", "ask_all", "join", "shared"]

log = logging.getLogger("restive.metrics")

FOLDER = "RESTIVE_METRICS_DIR"
"""The environment variable."""

WITHIN = 2.0
"""Seconds for the answers of all; one that hangs is left out."""

MOST = 64 * 1024 * 1024
"""Bytes of one answer."""

_joined: tuple[int, str] | None = None
_lock = threading.Lock()


def folder() -> Path | None:
    """The folder that the processes share, where there is one."""
    named = os.environ.get(FOLDER)
    return Path(named) if named and hasattr(socket, "AF_UNIX") else None


@contextmanager
def shared() -> Iterator[None]:
    """The processes that are started in this block share a folder, unless one is named already."""
    if FOLDER in os.environ or not hasattr(socket, "AF_UNIX"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="restive-", ignore_cleanup_errors=True) as fresh:
        os.environ[FOLDER] = fresh
        try:
            yield
        finally:
            del os.environ[FOLDER]


def join() -> None:
    """From now on this process answers its siblings, where it has any. May be called again."""
    global _joined  # noqa: PLW0603 - there is one for the process
    place = folder()
    if place is None:
        return
    with _lock:
        if _joined == (os.getpid(), str(place)):  # a forked child has the parent's, but not its thread
            return
        _joined = (os.getpid(), str(place))
    try:
        _listen(place)
    except OSError as error:
        log.error("%s=%s cannot be used, so this process's metrics are missing: %s", FOLDER, place, error)


def _listen(place: Path) -> None:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / str(os.getpid())
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen()
    atexit.register(_leave, path, os.getpid())
    threading.Thread(target=_serve, args=[listening], name="restive-metrics", daemon=True).start()


def _leave(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        path.unlink(missing_ok=True)


def _serve(listening: socket.socket) -> None:
    """In a thread, so that a loop that is blocked is seen too."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.settimeout(WITHIN)
            connection.sendall(snapshot.encode(snapshot.take()))


def ask_all(within: float = WITHIN) -> dict[str, Snapshot]:
    """What each process counts, by its process id; by "" where this one has no siblings. Blocks.

    One that does not answer in ``within`` seconds is left out.
    """
    join()
    place, own = folder(), str(os.getpid())
    if place is None:
        return {"": snapshot.take()}
    until = time.monotonic() + within
    found = {own: snapshot.take()}
    for path in sorted(place.iterdir()):
        if path.name != own and path.name.isdecimal():
            answer = _ask(path, until)
            if answer is not None:
                found[path.name] = answer
    return found


def _ask(path: Path, until: float) -> Snapshot | None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(0.05, until - time.monotonic()))
            connection.connect(str(path))
            return snapshot.decode(_received(connection, until))
    except ConnectionRefusedError:  # it was killed
        path.unlink(missing_ok=True)
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("Process %s does not tell its metrics: %s", path.name, error)
    return None


def _received(connection: socket.socket, until: float) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
        if len(data) > MOST:
            raise OSError("it says too much")
        connection.settimeout(max(0.05, until - time.monotonic()))
    return bytes(data)
