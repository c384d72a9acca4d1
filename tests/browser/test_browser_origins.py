"""A page of one origin that watches a server of another, which names the page in ``allow_origins=``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page
from wayward import Wayward

from scenarios.servers import TESTS, ProcessServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def other(tmp_path: Path, proxy: Wayward) -> Iterator[ProcessServer]:
    env = {
        "SHOP_SETTINGS": json.dumps({"allow_origins": [proxy.url]}),
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "browser")]),
    }
    server = ProcessServer("page_app:app", tmp_path, runner="restive", env=env)
    yield server
    server.stop()


async def test_watches_and_loads_the_client_from_there(page: Page, other: ProcessServer) -> None:
    for transport in ("websocket", "sse", "long-poll"):
        await page.evaluate(
            """async ([url, transport]) => {
              const { restive } = await import(`${url}/-/client.js`)
              w = follow(restive(url, { transport, policy: short }), "/orders/3")
            }""",
            [other.url, transport],
        )
        await page.wait_for_function("w.seen.length === 1")
        assert await page.evaluate("[w.states, w.errors]") == [[transport], []]
        await page.evaluate("w.stop()")


async def test_a_server_that_does_not_name_the_page(page: Page, served: ProcessServer) -> None:
    """The page is told what to look at."""
    await page.evaluate(
        """(url) => {
          w = follow(client.restive(url, { policy: { ...short, connectWithin: 1000 } }), "/orders/3")
        }""",
        served.url,
    )
    await page.wait_for_function("w.errors.length === 1")
    [error] = await page.evaluate("w.errors")
    assert error.startswith("Unreachable: No transport delivered")
    assert "in its allow_origins=?" in error
