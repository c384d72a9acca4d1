"""Announcements from elsewhere: ``POST /-/changed`` and other processes on one backend."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps import shop as shop_app
from scenarios.servers import CALM, ProcessServer, Serve, Spawn, ThreadServer
from scenarios.watches import Client, watch

TOKEN = "correct horse"
BEARER = {"authorization": f"Bearer {TOKEN}"}
MORE = {"item": "tea", "count": 2}
RESTIVE = Path(sys.executable).with_name("restive")


@pytest.fixture
def announcing(serve: Serve) -> tuple[ThreadServer, shop_app.Shop]:
    app, _, shop = shop_app.make(**CALM, announce_token=TOKEN, announce_limit=3)
    return serve(app), shop


async def test_no_such_uri_without_a_token(serve: Serve, http: Client) -> None:
    app, _, _ = shop_app.make(**CALM)
    server = serve(app)
    response = await http.post(server.url + "/-/changed", json={"changed": ["/orders/3"]}, headers=BEARER)
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("target", ["/orders/3", "/orders/3?whatever=1"])
async def test_announced_over_http(
    target: str, announcing: tuple[ThreadServer, shop_app.Shop], http: Client
) -> None:
    server, shop = announcing
    async with watch("websocket", server.url, "/orders/3") as watching:
        await watching.next()
        shop.orders[3] = MORE
        response = await http.post(server.url + "/-/changed", json={"changed": [target]}, headers=BEARER)
        assert 200 <= response.status_code < 300
        await watching.state(MORE)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"],
)
async def test_without_the_token_nothing_is_announced(
    authorization: str | None, announcing: tuple[ThreadServer, shop_app.Shop], http: Client
) -> None:
    server, shop = announcing
    async with watch("websocket", server.url, "/orders/3") as watching:
        await watching.next()
        headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
        response = await http.post(
            server.url + "/-/changed", json={"changed": ["/orders/3"]}, headers=headers
        )
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.headers["content-type"] == "application/problem+json"
        assert TOKEN not in response.text
    assert shop.looks["/orders/3"] == 1


BAD: list[Any] = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"changed": [' + b'"/a",' * 100_000 + b'"/a"]}',
    {"changed": []},
    {"changed": ["/a", "/b", "/c", "/d"]},
    {"changed": "/orders/3"},
    {"changed": [3]},
    {"changed": None},
    {},
    {"changed": ["/orders/3"], "unknown": True},
    {"changed": ["http://evil.test/orders/3"]},
    {"changed": ["//evil/x"]},
    {"changed": ["/orders/\x00"]},
    {"changed": ["/orders/%00"]},
    {"changed": ["/a\r\nb"]},
    {"changed": ["/" + "a" * 9000]},
    {"changed": ["/orders/3", "//evil"]},
]


@pytest.mark.parametrize("payload", BAD, ids=lambda p: str(p)[:40])
async def test_bad_announcements_are_refused_as_a_whole(
    payload: Any, announcing: tuple[ThreadServer, shop_app.Shop], http: Client
) -> None:
    server, shop = announcing
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    async with watch("websocket", server.url, "/orders/3") as watching:
        await watching.next()
        headers = {**BEARER, "content-type": "application/json"}
        response = await http.post(server.url + "/-/changed", content=body, headers=headers)
        assert 400 <= response.status_code < 500
        assert response.json()["status"] == response.status_code
        shop.orders[3] = MORE
        await http.post(server.url + "/-/changed", json={"changed": ["/orders/3"]}, headers=BEARER)
        await watching.state(MORE)


async def test_other_methods_and_types_are_refused(
    announcing: tuple[ThreadServer, shop_app.Shop], http: Client
) -> None:
    server, _ = announcing
    response = await http.get(server.url + "/-/changed", headers=BEARER)
    assert response.status_code == 405
    assert "POST" in response.headers["allow"]
    form = await http.post(server.url + "/-/changed", content=b"changed=/orders/3", headers=BEARER)
    assert form.status_code in {400, 415}


# Other processes


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, str]:
    """An environment in which several processes sell from one file and announce over one backend."""
    return {
        "SHOP_FILE": str(tmp_path / "orders.json"),
        "SHOP_SETTINGS": json.dumps({"settle": 0.1, "recheck": 60}),
        "RESTIVE_BACKEND": f"sqlite:///{tmp_path}/restive.db",
    }


async def test_change_made_in_another_process(spawn: Spawn, shared: dict[str, str], http: Client) -> None:
    one, two = await asyncio.gather(
        *(asyncio.to_thread(spawn, "apps.shop:app", env=shared) for _ in range(2))
    )
    async with (
        watch("websocket", one.url, "/orders/3") as here,
        watch("sse-query", two.url, "/orders") as there,
    ):
        await here.next()
        await there.next()
        await http.put(two.url + "/orders/3", json=MORE)
        await asyncio.gather(here.state(MORE), there.state([{"id": 3, **MORE}]))


async def test_change_announced_on_the_command_line(spawn: Spawn, shared: dict[str, str]) -> None:
    server = spawn("apps.shop:app", env=shared)
    async with watch("ndjson-query", server.url, "/orders/3") as watching:
        await watching.next()
        Path(shared["SHOP_FILE"]).write_text(json.dumps({"3": MORE}))
        done = await asyncio.to_thread(run, [str(RESTIVE), "changed", "/orders/3"], server, shared)
        assert done.returncode == 0, done.stderr
        await watching.state(MORE)


async def test_change_announced_by_a_script(spawn: Spawn, shared: dict[str, str]) -> None:
    """A script that imports the app and announces, without ever serving it."""
    server = spawn("apps.shop:app", env=shared)
    script = (
        f"import restive; from apps.shop import shop; shop.orders[3] = {MORE}\nrestive.changed('/orders/3')"
    )
    async with watch("ndjson-query", server.url, "/orders/3") as watching:
        await watching.next()
        done = await asyncio.to_thread(run, [sys.executable, "-c", script], server, shared)
        assert done.returncode == 0, done.stderr
        await watching.state(MORE)


def run(command: list[str], server: ProcessServer, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    everything = {**server.env, **env}
    return subprocess.run(
        command, env=everything, cwd=server.folder, capture_output=True, text=True, timeout=30, check=False
    )


async def test_command_line_without_a_backend_is_an_error(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "RESTIVE_BACKEND": f"sqlite:///{tmp_path}/no/such/folder/restive.db"}
    done = await asyncio.to_thread(
        subprocess.run,
        [str(RESTIVE), "changed", "/orders/3"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
    )
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr


async def test_server_with_two_workers(spawn: Spawn, shared: dict[str, str]) -> None:
    """Several workers on one port find each other by themselves (the default backend is then sqlite:)."""
    env = {k: v for k, v in shared.items() if k != "RESTIVE_BACKEND"} | {"WEB_CONCURRENCY": "2"}
    server = spawn("apps.shop:app", env=env)
    # Enough watchers that both workers have some.
    watching = [watch("ndjson-query", server.url, "/orders/3") for _ in range(12)]
    for one in watching:
        await one.open()
        await one.next()
    async with Client(trust_env=False) as http:
        await http.put(server.url + "/orders/3", json=MORE)
    await asyncio.gather(*(one.state(MORE) for one in watching))
    for one in watching:
        await one.close()
