"""Three nodes that share one network backend, and a proxy before them, started once for a module."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from cluster.proxies import Proxy
from faults.fleet import Member

NODES = 3
READY_WITHIN = 40.0
SETUPS = [
    ("nginx", "redis"),
    ("nginx", "nats"),
    ("nginx", "postgres"),
    ("haproxy", "redis"),
    ("caddy", "redis"),
]


class Cluster:
    """``nodes`` are reached directly by their own URLs, all of them by ``url``."""

    def __init__(self, folder: Path, backend: str, kind: str) -> None:
        self._folder, self._backend, self.kind = folder, backend, kind
        self.nodes: list[Member] = []
        self._proxy: Proxy | None = None
        (folder / "store").mkdir()
        try:
            for number in range(NODES):
                self.nodes.append(self._node(number))
            for node in self.nodes:
                await_port(node)
            self._proxy = Proxy(kind, folder, [node.port for node in self.nodes])
            self.await_nodes(NODES)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        assert self._proxy is not None
        return self._proxy.url

    def _node(self, number: int, port: int = 0) -> Member:
        environment = {
            "RESTIVE_HOME": str(self._folder / f"home-{number}"),
            "CLUSTER_STORE": str(self._folder / "store"),
            "CLUSTER_NODE": str(number),
        }
        serve = ["restive.cli", "serve", "cluster.cluster_app:app", "--backend", self._backend]
        return Member(self._folder, environment, port, command=serve)

    def await_nodes(self, count: int) -> None:
        """Wait until the proxy spreads requests over so many nodes."""
        deadline, seen = time.monotonic() + READY_WITHIN, list[str]()
        with httpx2.Client(base_url=self.url, trust_env=False) as http:
            while len(set(seen[-2 * NODES :])) != count or len(seen) < 2 * NODES:
                answer = http.get("/orders/none")
                seen.append(answer.headers.get("x-node", "none"))
                assert time.monotonic() < deadline, f"{seen[-10:]}\n{self.log}"
                time.sleep(0.02)

    def kill(self, number: int) -> None:
        """As `kill -9` does."""
        self.nodes[number].end()

    def drain(self, number: int) -> None:
        """Ask it to end."""
        self.nodes[number].signal(signal.SIGTERM)

    def restart(self, number: int) -> None:
        """Start it again, on its port."""
        self.nodes[number].end()
        self.nodes[number] = self._node(number, self.nodes[number].port)
        await_port(self.nodes[number])
        self.await_nodes(NODES)

    @property
    def log(self) -> str:
        return "\n".join(node.log[-2000:] for node in self.nodes)

    def stop(self) -> None:
        if self._proxy is not None:
            self._proxy.stop()
        for node in self.nodes:
            node.end()


def await_port(node: Member) -> None:
    """Wait until it accepts connections."""
    deadline = time.monotonic() + READY_WITHIN
    while node.alive and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", node.port), timeout=1).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"The node did not start.\n{node.log}")


@pytest.fixture(scope="module", params=SETUPS, ids=["-".join(each) for each in SETUPS])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    kind, backend = request.param
    url = request.getfixturevalue(f"{backend}_url")
    found = Cluster(tmp_path_factory.mktemp("cluster"), url, kind)
    yield found
    found.stop()
