"""Cross-origin pages: off by default, exact origins, and never with a wildcard (S23)."""

from __future__ import annotations

import pytest

from apps import shop as shop_app
from restive import Restive, SettingError
from scenarios.servers import CALM, Serve
from scenarios.watches import Client

PAGE = "https://page.test"
TARGETS = [
    "/orders/3?live=ndjson",
    "/orders/3?live=sse",
    "/orders/3?live=long-poll",
    "/-/live?live=ndjson&watch=/orders/3",
]
OTHERS = [
    "https://evil.test",
    "null",
    "https://page.test.evil.test",
    "http://page.test",
    "https://page.test:444",
]


async def allowed(http: Client, url: str, origin: str) -> dict[str, str]:
    async with http.stream("GET", url, headers={"origin": origin}, timeout=5) as answer:
        assert answer.status_code == 200
        return {k: v for k, v in answer.headers.items() if k.startswith("access-control-") or k == "vary"}


@pytest.mark.parametrize("target", TARGETS)
async def test_off_by_default(target: str, serve: Serve, http: Client) -> None:
    app, _, _ = shop_app.make(**CALM)
    server = serve(app)
    for origin in (PAGE, "null", server.url):
        assert not [k for k in await allowed(http, server.url + target, origin) if k != "vary"]


@pytest.mark.parametrize("target", TARGETS)
async def test_exact_origins(target: str, serve: Serve, http: Client) -> None:
    """The origin itself, with credentials, and what scripts need to resume; nothing for any other."""
    app, _, _ = shop_app.make(**CALM, allow_origins=[PAGE])
    server = serve(app)
    fields = await allowed(http, server.url + target, PAGE)
    assert fields["access-control-allow-origin"] == PAGE
    assert fields["access-control-allow-credentials"] == "true"
    assert "etag" in fields["access-control-expose-headers"].lower()
    assert "origin" in fields["vary"].lower()
    for origin in OTHERS:
        assert not [k for k in await allowed(http, server.url + target, origin) if k != "vary"]


async def test_preflight(serve: Serve, http: Client) -> None:
    app, _, _ = shop_app.make(**CALM, allow_origins=[PAGE])
    server = serve(app)
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = await http.options(server.url + "/-/live", headers={"origin": PAGE, **asked})
    assert 200 <= answer.status_code < 300
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"]
    assert "origin" in answer.headers["vary"].lower()
    for origin in OTHERS:
        refused = await http.options(server.url + "/-/live", headers={"origin": origin, **asked})
        assert "access-control-allow-origin" not in refused.headers


def test_wildcard_is_no_origin() -> None:
    with pytest.raises(SettingError, match="origin"):
        Restive(allow_origins=["*"])
