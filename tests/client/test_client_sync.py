"""``Client``: the same without ``await``, from any thread."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from restive.client import AsyncClient, Client
from restive.errors import ClientError, WatchEnded


@pytest.fixture
def client(server, script, policy):
    with Client(server.url, policy=policy, headers={"x-script": str(id(script))}, trust_env=False) as client:
        yield client


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "restive-client"]


@pytest.mark.parametrize("transport", ["auto", "websocket", "sse", "ndjson", "long-poll", "poll"])
def test_a_loop_over_the_states(script, client, transport):
    seen = []
    states = client.watch("/a", transport=transport)
    for state in states:
        seen.append(state.data["n"])
        if state.data["n"] < 3:
            script.put("/a", {"n": state.data["n"] + 1})
        else:
            script.finish("/a")
    assert seen == [0, 1, 2, 3]
    assert states.etag == script.resources["/a"].etag


def test_a_watch_ends_with_its_problem(script, client):
    script.end("/a", status=403, title="Forbidden")
    with pytest.raises(WatchEnded, match="403"):
        next(client.watch("/a"))


def test_breaking_out_and_closing_end_the_watch(script, client):
    with client.watch("/a", transport="sse") as states:
        assert next(states).data == {"n": 0}
    with pytest.raises(StopIteration):
        next(states)
    for _ in client.watch("/a", transport="sse"):
        break
    assert client.get("/a").json() == {"n": 0}


def test_requests_as_in_httpx2(script, client):
    for method in ("get", "post", "put", "patch", "delete"):
        assert getattr(client, method)("/a").json() == {"n": 0}
    assert client.head("/a").status_code == client.options("/a").status_code == 200
    assert client.request("GET", "/none").status_code == 404
    assert [kind for kind, _, _ in script.log] == [
        "get",
        "post",
        "put",
        "patch",
        "delete",
        "head",
        "options",
        "get",
    ]


def test_several_threads_share_it(script, client):
    seen: list[int] = []

    def follow(path: str) -> None:
        seen.append(next(client.watch(path)).data)

    for n in range(8):
        script.put(f"/n/{n}", n)
    workers = [threading.Thread(target=follow, args=(f"/n/{n}",)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert sorted(seen) == list(range(8))
    assert script.count()["websocket"] == 1


def test_closing_wakes_a_thread_that_waits_and_leaves_no_thread(server, script, policy):
    client = Client(server.url, policy=policy, headers={"x-script": str(id(script))})
    states = client.watch("/a")
    assert next(states).data == {"n": 0}
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            next(states)
        except BaseException as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    client.close()
    waiting.join(10)
    assert not waiting.is_alive()
    assert isinstance(caught[0], ClientError)
    assert threads() == []
    with pytest.raises(ClientError, match="closed"):
        client.get("/a")


def test_a_client_that_nobody_closed_lets_its_thread_go(server, script):
    client = Client(server.url)
    thread = next(t for t in threading.enumerate() if t.name == "restive-client")
    del client
    thread.join(10)
    assert not thread.is_alive()


def test_a_bad_argument_leaves_no_thread():
    with pytest.raises(ValueError, match="transport="):
        Client(transport="pigeon")
    with pytest.raises(TypeError):
        Client(no_such_option=1)
    assert threads() == []


def test_the_libraries_are_loaded_with_the_first_client_only():
    """And `restive[client]` is named where they are missing."""
    code = """
import sys
import restive.client
assert not {"httpx2", "websockets"} & set(sys.modules), "loaded too early"
sys.modules["websockets"] = None
try:
    restive.client.AsyncClient()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "restive[client]"' in done.stdout


def test_both_clients_have_the_same_methods():
    """`Client` lacks nothing but what only makes sense with `await`."""
    public = {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert {name for name in vars(Client) if not name.startswith("_")} == public - {"aclose"} | {"close"}
