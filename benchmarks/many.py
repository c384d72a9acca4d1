"""``python -m benchmarks.many``: 150,000 clients of one machine, over nine or more processes.

Each watches one of 1,000 resources, and another one that everybody watches. Servers share a ``sqlite:``
backend; with ``--workers`` they are workers of one ``restive serve``, else servers on ports of their own. The
change is made at one of them. No process may have more than 20,000 files open.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from . import rows, wire
from .case import Kind, Opening, mark
from .crowd_apps import ORDERS, Change
from .generator import Generator, Told, allow_files, change
from .server import Group, Server, running, serving
from .table import machine, table
from .trial import middle

COMMON = 0
OWN = [number for number in range(1, ORDERS) if number % 64][:1000]
"""The resources. The generator tells numbers apart by their remainder, which is 0 for ``COMMON`` only."""
AT_ONCE = 50
"""Connections that each generator is opening."""
QUIET = 3.0


class Machine:
    """The servers, and a generator for each of their ports or shares."""

    def __init__(self, groups: Sequence[Server | Group], ports: Sequence[int]) -> None:
        self.groups, self.ports = groups, ports
        self.generators: list[Generator] = []
        self._pool = ThreadPoolExecutor(len(ports))

    def memory(self) -> int:
        """Bytes of PSS of all server processes."""
        return sum(group.memory() for group in self.groups)

    def cpu(self) -> float:
        """Seconds of CPU of all server processes."""
        return sum(group.cpu() for group in self.groups)

    def start(self, stack: ExitStack, kind: Kind, count: int) -> None:
        """Have ``count`` watchers ready."""
        shares = [count * place // len(self.ports) for place in range(len(self.ports) + 1)]
        for port, offset, end in zip(self.ports, shares, shares[1:], strict=False):
            generator = stack.enter_context(closing(Generator(port, kind, end - offset, offset=offset)))
            generator.load(socket_opening if kind == "socket" else stream_opening)
            self.generators.append(generator)

    def open(self) -> list[Told]:
        """Let all come; each was told both of its resources."""
        return self._all([partial(it.open, mark(0), 2, in_flight=AT_ONCE) for it in self.generators])

    def change(self, version: int, number: int) -> tuple[float, list[Told]]:
        """Change one resource; when it began, and what came."""
        seen = mark(version) + b"%d}" % number
        counts = [watchers_of(it, number) for it in self.generators]
        waits = [
            it.expect(seen, tell=count) for it, count in zip(self.generators, counts, strict=True) if count
        ]
        given = asdict(Change(version, start=number))
        begin = change(self.ports[0], wire.request("POST", "/changes", document=given))
        return begin, self._all(waits)

    def _all(self, waits: Sequence[Callable[[], Told]]) -> list[Told]:
        return list(self._pool.map(lambda wait: wait(), waits))


def watched(number: int) -> list[str]:
    """What the client of this number watches."""
    return [f"/orders/{OWN[number % len(OWN)]}", f"/orders/{COMMON}"]


def watchers_of(generator: Generator, number: int) -> int:
    """How many of its clients watch the resource."""
    mine = range(generator.offset, generator.offset + generator.count)
    return len(mine) if number == COMMON else sum(OWN[client % len(OWN)] == number for client in mine)


def socket_opening(number: int) -> Opening:
    """A socket with two watches."""
    return Opening(wire.handshake("/-/live"), b"".join(map(wire.watch, watched(number))))


def stream_opening(number: int) -> Opening:
    """An event stream of two resources."""
    query = "&".join(f"watch={target}" for target in watched(number))
    return Opening(wire.request("GET", f"/-/live?{query}&live=sse"))


@contextmanager
def apart(count: int, environment: dict[str, str]) -> Iterator[Machine]:
    """Servers on ports of their own."""
    with ExitStack() as stack:
        app = "benchmarks.crowd_apps:live_app"
        servers = [
            stack.enter_context(serving(app, options=rows.FAST, environment=environment))
            for _ in range(count)
        ]
        yield Machine(servers, [server.port for server in servers])


@contextmanager
def workers(count: int, environment: dict[str, str]) -> Iterator[Machine]:
    """Workers of one server."""
    command = [str(Path(sys.executable).with_name("restive")), "serve", "benchmarks.crowd_apps:live_app"]
    command += ["--workers", str(count), "--log-level", "warning"]
    with running(command, environment=environment) as server:
        group = Group.of(server.port, [server.pid, *children(server.pid)])
        while len(group.servers) <= count or busy(group):
            group = Group.of(server.port, [server.pid, *children(server.pid)])
        yield Machine([group], [server.port] * count)


def children(pid: int) -> list[int]:
    """The processes that it started."""
    return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def busy(group: Group) -> bool:
    """Whether it is still starting."""
    cpu = group.cpu()
    time.sleep(1)
    return group.cpu() - cpu > 0.05


def measure(servers: Machine, kind: Kind, count: int) -> list[tuple[str, float | int | None, str]]:
    """All come, one change for all, one for some."""
    with ExitStack() as stack:
        base, cpu = servers.memory(), servers.cpu()
        servers.start(stack, kind, count)
        begin = time.monotonic()
        came = servers.open()
        took, cpu = time.monotonic() - begin, servers.cpu() - cpu
        time.sleep(QUIET)
        memory = servers.memory()
        to_all, all_told = servers.change(1, COMMON)
        time.sleep(QUIET)
        to_some, some_told = servers.change(2, OWN[7])
        lost = [generator.lost() for generator in servers.generators]
    return [
        ("clients connected", sum(it.told for it in came), "each was told both of its states"),
        ("seconds until all were", took, ""),
        ("µs of servers' CPU for each", cpu / count * 1e6, ""),
        ("MB of PSS before, all servers", base / 1e6, ""),
        ("MB of PSS with all clients", memory / 1e6, ""),
        ("KB for each client", (memory - base) / count / 1024, ""),
        ("told of one change for all", sum(it.told for it in all_told), "made at one server"),
        ("ms until the median of them", (middle(it.half for it in all_told) - to_all) * 1e3, ""),
        ("ms until the last", (max(it.last for it in all_told) - to_all) * 1e3, ""),
        ("told of a change of one in 1,000", sum(it.told for it in some_told), "nobody else watches it"),
        ("ms until the last of these", (max(it.last for it in some_told) - to_some) * 1e3, ""),
        ("clients lost", sum(it.lost for it in lost), ""),
    ]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=150_000, help="clients (150000)")
    parser.add_argument("--servers", type=int, default=10, help="server processes (10)")
    parser.add_argument("--workers", action="store_true", help="as workers of one restive serve")
    parser.add_argument("--kind", choices=("socket", "stream"), default="socket", help="of client (socket)")
    given = parser.parse_args()
    allow_files()
    machine()
    with TemporaryDirectory() as folder:
        versions = Path(folder, "versions")
        versions.write_bytes(bytes(4 * ORDERS))
        backend = f"sqlite:///{folder}/restive.db"
        environment = {"CROWD_FILE": str(versions), "RESTIVE_BACKEND": backend, "RESTIVE_HOME": folder}
        with (workers if given.workers else apart)(given.servers, environment) as servers:
            found = measure(servers, given.kind, given.watchers)
    how = "workers of one server" if given.workers else "servers"
    title = f"{given.watchers} clients ({given.kind}s) of {given.servers} {how}, two watches each"
    table(title, ("", "", ""), found)


if __name__ == "__main__":
    main()
