"""The backends under test: where each keeps its data, and how it is killed, stopped, filled up and wiped."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import resource
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from .wires import Wire

SERVERS = {
    "redis": ("engines.redis_server", "RedisServer"),
    "nats": ("engines.nats_server", "NatsServer"),
    "postgres": ("engines.postgres_server", "PostgresServer"),
}
BACKENDS = ("memory", "sqlite", *SERVERS)
DISK = 48 * 1024 * 1024
"""Bytes of the disk that can be filled up."""


class Store(Protocol):
    """``url`` is what the node reached by ``wire`` is told."""

    remote: bool
    """Whether it is a server, so that each node has a wire to it."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def url(self, wire: Wire | None) -> str: ...
    def wire(self) -> Wire | None: ...


class MemoryStore:
    """Each node's own: it goes with the node."""

    remote = False

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def wire(self) -> None:
        return None

    def url(self, wire: Wire | None) -> str:
        return "memory:"


class SqliteStore:
    """A file on a small disk of its own, where we may mount one; else a limit of the file's size fills it."""

    remote = False

    def __init__(self, folder: Path) -> None:
        self._disk = folder / "disk"
        self._mounted = False

    async def start(self) -> None:
        self._disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "restive-faults", str(self._disk)]
        with contextlib.suppress(FileNotFoundError):
            self._mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0

    async def stop(self) -> None:
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self._disk)], capture_output=True, check=False)

    def wire(self) -> None:
        return None

    def url(self, wire: Wire | None) -> str:
        return f"sqlite:///{self._disk / 'restive.db'}"

    def wipe(self) -> None:
        """Nobody may be at work meanwhile: the three files are one."""
        for suffix in ("", "-wal", "-shm"):
            (self._disk / f"restive.db{suffix}").unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def full(self, pids: Iterable[int]) -> AsyncIterator[None]:
        """For as long as the block takes, nothing more can be written; ``pids`` are the nodes' processes."""
        if self._mounted:
            filler = self._disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            try:
                yield
            finally:
                filler.unlink()
            return
        size = max((path.stat().st_size for path in self._disk.iterdir()), default=0)
        limited = [pid for pid in pids if _limit(pid, size)]
        try:
            yield
        finally:
            for pid in limited:
                _limit(pid, resource.RLIM_INFINITY)


def _limit(pid: int, size: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return True
    return False


class ServerStore:
    """A real server of its engine, in a folder of its own."""

    remote = True

    def __init__(self, engine: str, folder: Path) -> None:
        module, name = SERVERS[engine]
        (folder / "engine").mkdir()
        self.server: Any = getattr(importlib.import_module(module), name)(folder / "engine")

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.stop)

    def wire(self) -> Wire:
        parts = urlsplit(self.server.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return Wire(parts.hostname, parts.port)

    def url(self, wire: Wire | None) -> str:
        assert wire is not None
        parts = urlsplit(self.server.url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{wire.port}").geturl()


def store_of(backend: str, folder: Path) -> Store:
    """The backend of that name. Its data lies below ``folder``."""
    if backend == "memory":
        return MemoryStore()
    return SqliteStore(folder) if backend == "sqlite" else ServerStore(backend, folder)
