"""Starlette TestClient, with and without its ``with``: several loops, and then no lifespan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from apps import shop as shop_app
from scenarios.servers import CALM

TEA = shop_app.TEA
MORE = {"item": "tea", "count": 2}


@pytest.fixture(params=[True, False], ids=["with", "without"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    app, _, _ = shop_app.make(**CALM)
    client = TestClient(app)
    with client if request.param else contextlib.nullcontext():
        yield client


def test_plain_requests(client: TestClient) -> None:
    response = client.get("/orders/3")
    assert response.json() == TEA
    assert client.get("/orders/3", headers={"if-none-match": response.headers["etag"]}).status_code == 304


def test_socket(client: TestClient) -> None:
    with client.websocket_connect("/-/live", subprotocols=["restive.v1"]) as socket:
        assert socket.accepted_subprotocol == "restive.v1"
        socket.send_json({"watch": "/orders/3"})
        first = socket.receive_json()
        assert (first["on"], first["data"]) == ("/orders/3", TEA)
        client.put("/orders/3", json=MORE)
        assert socket.receive_json()["data"] == MORE
        client.delete("/orders/3")
        assert socket.receive_json()["end"]["status"] == 404


def test_two_sockets_one_after_the_other(client: TestClient) -> None:
    """Each may have a loop of its own; nothing of the first one's is left to disturb the second."""
    for count in (2, 3):
        with client.websocket_connect("/-/live") as socket:
            socket.send_json({"watch": "/orders/3"})
            socket.receive_json()
            client.put("/orders/3", json={"count": count})
            assert socket.receive_json()["data"] == {"count": count}


def test_long_poll(client: TestClient) -> None:
    first = client.get("/orders/3?live=long-poll")
    assert first.json() == TEA
    query: dict[str, Any] = {"live": "long-poll", "etag": first.headers["etag"], "wait": "1", "n": "x"}
    assert client.get("/orders/3", params=query).status_code == 204
    client.put("/orders/3", json=MORE)
    assert client.get("/orders/3", params=query).json() == MORE


def test_missing_resource_over_a_stream(client: TestClient) -> None:
    response = client.get("/orders/99?live=sse")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
