"""``/-/client.js``: the client for pages, as a browser loads it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from restive import Restive
from restive.door.script import FILE

PAGE = "https://page.test"


def client_of(root_path: str = "", **settings: Any) -> TestClient:
    app = FastAPI()
    Restive(app, **settings)
    return TestClient(app, root_path=root_path)


def test_is_the_file_of_the_package() -> None:
    answer = client_of().get("/-/client.js")
    assert (answer.status_code, answer.content) == (200, FILE.read_bytes())
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "restive" in answer.text.partition("\n")[0]


def test_is_revalidated() -> None:
    client = client_of()
    first = client.get("/-/client.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    again = client.get("/-/client.js", headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = client.get("/-/client.js", headers={"if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_head_says_the_same_without_the_file() -> None:
    client = client_of()
    head, whole = client.head("/-/client.js"), client.get("/-/client.js")
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(whole.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_is_only_read(method: str) -> None:
    answer = client_of().request(method, "/-/client.js")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_is_for_its_own_origin_unless_others_may_watch() -> None:
    alone = client_of().get("/-/client.js", headers={"origin": PAGE})
    assert alone.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in alone.headers
    shared = client_of(allow_origins=[PAGE])
    answer = shared.get("/-/client.js", headers={"origin": PAGE})
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "origin"
    assert (
        "access-control-allow-origin"
        not in shared.get("/-/client.js", headers={"origin": "https://evil.test"}).headers
    )


def test_goes_with_the_prefix_and_the_root_path() -> None:
    assert client_of(prefix="/live").get("/live/client.js").status_code == 200
    assert client_of(prefix="/live").get("/-/client.js").status_code == 404
    assert client_of(root_path="/shop").get("/shop/-/client.js").status_code == 200
