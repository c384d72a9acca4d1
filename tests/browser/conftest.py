"""Chromium, driven by Playwright; a page of a real ``restive serve``; and a proxy between the two.

Playwright for Python, since the server and the proxy live in the test too. It drives Debian's Chromium, so
its own browsers are not downloaded. All tests share one event loop and one browser; each has its own context.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pages import opened
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from wayward import Wayward

from cluster.proxies import program
from scenarios.servers import TESTS, ProcessServer

SETTINGS = '{"settle": 0.2, "min_interval": 0.01, "drain": 0.2, "retry": 0.1, "recheck": 60.0}'
TOGETHER: Any = {"scope": "session", "loop_scope": "session"}


@pytest_asyncio.fixture(**TOGETHER)
async def browser() -> AsyncIterator[Browser]:
    path = program("chromium", "chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    """A real ``restive serve``, whose orders survive it."""
    folder = tmp_path_factory.mktemp("shop")
    env = {
        "SHOP_SETTINGS": SETTINGS,
        "SHOP_FILE": str(folder / "orders.json"),
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "browser")]),
    }
    server = ProcessServer("page_app:app", folder, runner="restive", env=env)
    yield server
    server.stop()


@pytest.fixture
def served(shop: ProcessServer) -> ProcessServer:
    """The same for all tests, with the orders and tokens that each begins with."""
    with httpx2.Client(base_url=shop.url, trust_env=False) as http:
        http.put("/orders/3", json={"item": "tea", "count": 1}).raise_for_status()
        http.put("/tokens", json=["ann", "bob"]).raise_for_status()
    return shop


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(served: ProcessServer) -> AsyncIterator[Wayward]:
    async with Wayward(served.port) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context()
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, proxy: Wayward) -> Page:
    """A page behind the proxy. ``client`` is there, and ``make`` gives a client with short times."""
    return await opened(context, proxy)
