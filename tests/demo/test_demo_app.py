"""The demo: a shop made live by one line, and a digest of any file, counted chunk by chunk."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from restive.demo import counting, page

WAIT = {"Prefer": "wait=30"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TestClient]:
    monkeypatch.setenv("RESTIVE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RESTIVE_BACKEND", raising=False)
    for name in [name for name in sys.modules if name.startswith("restive.demo")]:
        monkeypatch.delitem(sys.modules, name)
    demo = importlib.import_module("restive.demo")
    with TestClient(demo.app) as made:
        yield made


def test_the_shop_knows_nothing_of_restive() -> None:
    tree = ast.parse((Path(page.__file__).parent / "orders.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not [name for name in imported if name and name.startswith("restive")]


def test_orders_are_placed_read_changed_and_removed(client: TestClient) -> None:
    placed = client.post("/orders", json={"item": "cake", "quantity": 2})
    assert placed.status_code == 201
    location = placed.headers["location"]
    assert client.get(location).json() == placed.json()
    written = client.put(location, json={"item": "cake", "quantity": 3, "status": "paid"})
    assert written.json()["quantity"] == 3
    assert written.json() in client.get("/orders").json()
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404
    assert client.put(location, json={"item": "cake"}).status_code == 404
    assert client.delete(location).status_code == 404


@pytest.mark.parametrize(
    "order", [{}, {"item": ""}, {"item": "x", "quantity": 0}, {"item": "x", "status": "lost"}]
)
def test_an_order_that_makes_no_sense_is_refused(client: TestClient, order: dict[str, object]) -> None:
    assert client.put("/orders/3", json=order).status_code == 422


def test_an_order_can_be_watched(client: TestClient) -> None:
    state = client.get("/orders/3")
    assert 'rel="monitor"' in state.headers["link"]
    polled = client.get("/orders/3", params={"live": "long-poll", "etag": state.headers["etag"], "wait": "0"})
    assert polled.status_code == 204
    client.put("/orders/3", json={"item": "black tea"}).raise_for_status()
    polled = client.get(
        "/orders/3", params={"live": "long-poll", "etag": state.headers["etag"], "wait": "10"}
    )
    assert polled.json()["item"] == "black tea"


def test_a_digest_has_a_part_for_each_chunk_and_adds_up(client: TestClient) -> None:
    data = b"to be or not to be\n" * 150_000
    done = client.post("/digests", files={"file": ("hamlet.txt", data)}, headers=WAIT).json()
    assert done["status"] == "succeeded", done
    result = done["result"]
    chunks = -(-len(data) // counting.LEAST)
    assert (result["name"], result["bytes"], result["lines"], result["words"], result["chunks"]) == (
        "hamlet.txt",
        len(data),
        150_000,
        900_000,
        chunks,
    )
    assert result["top"][:2] == [{"word": "be", "count": 300_000}, {"word": "to", "count": 300_000}]
    assert result["top_error"] == 0
    parts = client.get(done["links"]["parts"]).json()
    assert sorted(part["name"] for part in parts) == [f"{number:04}.json" for number in range(chunks)]
    counted = [client.get(part["url"]).json() for part in parts]
    assert sum(each["words"] for each in counted) == 900_000
    assert min(each["offset"] for each in counted) == 0


@pytest.mark.parametrize(
    ("data", "lines", "words"),
    [(b"", 0, 0), (b"\0\xff" * 1000, 0, 0), (b"no line end", 0, 3), (b"\r\n\r\n", 2, 0)],
)
def test_any_file_can_be_digested(client: TestClient, data: bytes, lines: int, words: int) -> None:
    done = client.post("/digests", files={"file": ("any", data)}, headers=WAIT).json()
    assert done["status"] == "succeeded", done
    assert (done["result"]["bytes"], done["result"]["lines"], done["result"]["words"]) == (
        len(data),
        lines,
        words,
    )


def test_without_a_file_nothing_is_started(client: TestClient) -> None:
    assert client.post("/digests").status_code == 422


def test_the_page_fills_in_where_it_is_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    shown = client.get("/")
    assert shown.headers["content-type"].startswith("text/html")
    assert "restive watch http://testserver/orders/3" in shown.text
    assert "src=" not in shown.text
    assert "<script" not in shown.text


def test_a_host_cannot_write_into_the_page() -> None:
    assert "<b>" not in page.render("http://<b>x")


def test_the_examples_are_plain_apps_with_one_live_line() -> None:
    examples = Path(__file__).parents[2] / "examples"
    for path in examples.glob("*.py"):
        assert path.read_text().count("Restive(app)") == 1


def test_the_example_shop_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    client = TestClient(_example("shop", monkeypatch))
    placed = client.post("/orders", json={"item": "cup"})
    assert client.get(placed.headers["location"]).json() == {"item": "cup", "quantity": 1}
    client.put("/orders/3", json={"item": "tea", "quantity": 9}).raise_for_status()
    with client.websocket_connect("/-/live", subprotocols=["restive.v1"]) as socket:
        socket.send_json({"watch": "/orders/3"})
        assert socket.receive_json()["data"]["quantity"] == 9
    assert client.delete("/orders/3").status_code == 204
    assert client.get("/orders/3").status_code == 404


def test_the_example_digest_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(_example("digests", monkeypatch)) as client:
        done = client.post("/digests", files={"file": ("x", b"x" * 100)}, headers=WAIT).json()
    assert done["status"] == "succeeded", json.dumps(done)
    assert done["result"]["pieces"] == 1


def _example(name: str, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.delenv("RESTIVE_BACKEND", raising=False)
    path = Path(__file__).parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module.app
