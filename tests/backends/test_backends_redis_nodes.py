"""Several nodes: a cluster leads to the one that has the app's slot, replicas take over and confirm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from backends.backend_processes import eventually
from engines.redis_server import RedisServer
from restive.backends.port import LOST
from restive.backends.redis import RedisBackend
from restive.errors import BackendUnavailable
from restive.testing import BACKEND_CHECKS, run_check
from restive.testing.stores import Ear
from scenarios.servers import free_port


def client(server: RedisServer) -> redis.Redis:
    return redis.Redis(port=server.port, decode_responses=True)


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except BackendUnavailable:
        return False
    return True


# A cluster


def member(folder: Path) -> RedisServer:
    server = RedisServer(
        folder,
        cluster_enabled="yes",
        cluster_port=free_port(),
        cluster_node_timeout=2000,
        cluster_require_full_coverage="no",
    )
    server.start()
    return server


def all_slots(node: redis.Redis) -> bool:
    info = node.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "2"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two nodes: the slots are split between them."""
    nodes: list[RedisServer] = []
    try:
        nodes.append(member(tmp_path_factory.mktemp("one")))
        nodes.append(member(tmp_path_factory.mktemp("two")))
        first, second = map(client, nodes)
        first.execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
        second.execute_command("CLUSTER ADDSLOTSRANGE", 8192, 16383)
        second.execute_command("CLUSTER SET-CONFIG-EPOCH", 2)
        port = nodes[0]._arguments[nodes[0]._arguments.index("--cluster-port") + 1]
        second.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, port)
        eventually(lambda: all_slots(first) and all_slots(second))
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.stop()


@pytest.mark.parametrize("check", BACKEND_CHECKS)
def test_a_cluster_conforms_whichever_node_is_asked_first(
    check: str, cluster: tuple[RedisServer, RedisServer]
):
    run = uuid4().hex
    run_check(check, lambda store: RedisBackend(cluster[0].url, name=f"{run}/{store}"))


def test_both_nodes_of_a_cluster_are_used(cluster: tuple[RedisServer, RedisServer]):
    for n in range(8):
        backend = RedisBackend(cluster[n % 2].url, name=f"spread{n}")
        backend.append("s", [b"x"])
        backend.close()
    assert all(client(node).dbsize() for node in cluster)


def test_a_slot_that_moves_is_followed(cluster: tuple[RedisServer, RedisServer]):
    backend, ear = RedisBackend(cluster[0].url, name="moving"), Ear()
    end = backend.append("s", [b"0"])
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    slot = client(cluster[0]).execute_command("CLUSTER KEYSLOT", "{restive:moving}:x")
    source, target = cluster if slot < 8192 else cluster[::-1]
    raw = redis.Redis(port=source.port)
    identity = client(target).execute_command("CLUSTER MYID")
    keys = raw.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
    there = redis.Redis(port=target.port)
    giver = client(source).execute_command("CLUSTER MYID")
    there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", giver)
    raw.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", identity)
    raw.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
    for node in (there, raw):
        node.execute_command("CLUSTER SETSLOT", slot, "NODE", identity)
    eventually(lambda: works(backend.probe))
    assert backend.read("s").items == (b"0",)
    backend.append("s", [b"1"], after=end)
    other = RedisBackend(target.url, name="moving")
    other.announce(b"after")
    ear.until(b"after")
    other.close()
    backend.close()


# A primary and a replica


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica, which has all that there is."""
    nodes = [RedisServer(tmp_path / name, repl_diskless_sync_delay=0) for name in ("primary", "replica")]
    try:
        for node in nodes:
            node.start()
        client(nodes[1]).replicaof("127.0.0.1", nodes[0].port)
        eventually(lambda: client(nodes[1]).info("replication")["master_link_status"] == "up")
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.stop()


def url_of(*nodes: RedisServer, options: str = "") -> str:
    return f"redis://{','.join(f'127.0.0.1:{node.port}' for node in nodes)}/0?timeout=1{options}"


def test_the_primary_is_found_and_found_again_after_a_failover(pair: tuple[RedisServer, RedisServer]):
    primary, replica = pair
    backend, ear = RedisBackend(url_of(replica, primary), name="shop"), Ear()
    backend.listen(ear)
    end = backend.append("s", [b"0"])
    version = backend.save("r", b"0", version=0)
    backend.announce(b"before")
    ear.until(b"before")
    client(primary).wait(1, 5000)
    primary.kill()
    client(replica).replicaof("no", "one")
    eventually(lambda: works(backend.probe))
    eventually(lambda: LOST in ear.heard)
    assert backend.append("s", [b"1"], after=end)
    assert backend.save("r", b"1", version=version) > version
    backend.announce(b"after")
    ear.until(b"after")
    primary.start()
    client(primary).replicaof("127.0.0.1", replica.port)
    assert [*backend.read("s").items] == [b"0", b"1"]
    backend.close()


def test_a_primary_that_becomes_a_replica_is_left(pair: tuple[RedisServer, RedisServer]):
    primary, replica = pair
    backend, ear = RedisBackend(url_of(primary, replica), name="shop"), Ear()
    backend.listen(ear)
    backend.append("s", [b"0"])
    client(primary).wait(1, 5000)
    client(replica).replicaof("no", "one")
    client(primary).replicaof("127.0.0.1", replica.port)
    eventually(lambda: works(lambda: backend.append("s", [b"1"])))
    eventually(lambda: LOST in ear.heard)
    other = RedisBackend(url_of(replica), name="shop")
    other.announce(b"at the new primary")
    ear.until(b"at the new primary")
    assert other.read("s").items == (b"0", b"1")
    other.close()
    backend.close()


def test_a_replica_alone_is_no_backend(pair: tuple[RedisServer, RedisServer]):
    backend = RedisBackend(url_of(pair[1]), name="shop")
    with pytest.raises(BackendUnavailable, match="it is a replica"):
        backend.probe()
    with pytest.raises(BackendUnavailable, match="it is a replica"):
        backend.listen(Ear())
    backend.close()


def test_replicas_confirm_what_is_durable(pair: tuple[RedisServer, RedisServer]):
    primary, replica = pair
    backend = RedisBackend(url_of(primary, options="&replicas=1"), name="shop")
    backend.append("s", [b"0"])
    assert client(replica).xlen("{restive:shop}:stream:s") == 1
    replica.pause()
    with pytest.raises(BackendUnavailable, match="only 0 of 1 replicas"):
        backend.append("s", [b"1"])
    backend.announce(b"need not be there")
    assert len(backend.read("s").items) == 2
    replica.resume()
    backend.append("s", [b"2"])
    assert client(replica).xlen("{restive:shop}:stream:s") == 3
    backend.close()
