"""The hooks and the recipes of docs/browser-frameworks.md in Chromium, on the libraries as npm has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page
from wayward import Wayward

from scenarios.servers import TESTS, ProcessServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT = TESTS.parent / "clients" / "typescript"
PAGES = CLIENT / "tests" / "pages"
DOCS = TESTS.parent / "docs" / "browser-frameworks.md"
MODULES = CLIENT / "node_modules"
BUNDLED = ["react.tsx", "vue.ts", "svelte.ts"]
COPIED = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "hx-sse.min.js": "htmx.org/dist/ext/hx-sse.min.js",
    "htmx2.min.js": "htmx2/dist/htmx.min.js",
    "sse.min.js": "htmx-ext-sse/dist/sse.min.js",
}
DEFINED = {
    "process.env.NODE_ENV": '"development"',
    "__VUE_OPTIONS_API__": "false",
    "__VUE_PROD_DEVTOOLS__": "false",
    "__VUE_PROD_HYDRATION_MISMATCH_DETAILS__": "false",
}
PAGE = '<!doctype html><html lang="en"><title>Page</title><link rel="icon" href="data:,"><body>'


def build(folder: Path) -> None:
    """The pages, with all that they load."""
    if not MODULES.exists():
        run("npm", "ci", "--no-audit", "--no-fund")
    sources = [str(PAGES / name) for name in BUNDLED]
    defined = [f"--define:{name}={value}" for name, value in DEFINED.items()]
    run(
        str(MODULES / ".bin" / "esbuild"),
        *sources,
        "--bundle",
        "--format=esm",
        f"--outdir={folder}",
        *defined,
    )
    for name, source in COPIED.items():
        shutil.copy(MODULES / source, folder / name)
    for name in BUNDLED:
        script = f'<div id="root"></div><script type="module" src="{Path(name).stem}.js"></script>'
        (folder / f"{Path(name).stem}.html").write_text(PAGE + script)
    for recipe in PAGES.glob("*.html"):
        (folder / recipe.name).write_text(PAGE + recipe.read_text())


def run(*command: str) -> None:
    done = subprocess.run(
        ["timeout", "120", *command], cwd=CLIENT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    folder = tmp_path_factory.mktemp("built")
    build(folder)
    path = os.pathsep.join([str(TESTS), str(TESTS / "browser")])
    env = {"PYTHONPATH": path, "BUILT": str(folder)}
    server = ProcessServer(
        "framework_page_app:app", tmp_path_factory.mktemp("site"), runner="restive", env=env
    )
    yield server
    server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def hop(site: ProcessServer) -> AsyncIterator[Wayward]:
    await tell(site, "PUT", "/document", json={"n": 1})
    await tell(site, "PUT", "/orders/3?quantity=2")
    async with Wayward(site.port) as proxy:
        yield proxy


async def tell(site: ProcessServer, method: str, path: str, **request: Any) -> None:
    async with httpx2.AsyncClient(base_url=site.url, trust_env=False) as http:
        (await http.request(method, path, **request)).raise_for_status()


async def opened(context: BrowserContext, hop: Wayward, name: str) -> tuple[Page, list[str]]:
    """The page, and what its console says as errors."""
    page = await context.new_page()
    page.set_default_timeout(20_000)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{hop.url}/built/{name}.html")
    return page, errors


async def shows(page: Page, selector: str, text: str) -> None:
    await page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.innerText.trim() === text",
        arg=[selector, text],
    )


async def test_hooks_of_react(context: BrowserContext, hop: Wayward, site: ProcessServer) -> None:
    page, errors = await opened(context, hop, "react")
    await shows(page, "#first", "1")
    await tell(site, "PUT", "/document", json={"n": 2})
    await shows(page, "#first", "2")
    await shows(page, "#second", "2")
    await tell(site, "POST", "/_/say/react", json=list(range(8)))
    await shows(page, "#messages", "3 4 5 6 7")

    await page.get_by_role("button", name="Count", exact=True).click()
    await shows(page, "#end", "3 lines")
    await shows(page, "#count", "succeeded 3 1.json 2.json 3.json")
    assert hop.count()["post"] == 1
    await page.reload()
    await shows(page, "#end", "3 lines")
    await shows(page, "#count", "succeeded 3 1.json 2.json 3.json")
    await page.get_by_role("button", name="Count long").click()
    await page.wait_for_function("document.querySelector('#count').innerText.startsWith('running')")
    await page.get_by_role("button", name="Cancel").click()
    await shows(page, "#end", "OperationCanceled")
    assert hop.count()["post"] == 3
    assert errors == []


async def test_the_recipe_for_vue(context: BrowserContext, hop: Wayward, site: ProcessServer) -> None:
    page, errors = await opened(context, hop, "vue")
    await shows(page, "#shown", "1")
    await tell(site, "PUT", "/document", json={"n": 2})
    await shows(page, "#shown", "2")
    assert errors == []
    await page.get_by_role("button", name="Elsewhere").click()
    await shows(page, "#shown", "WatchEnded")


async def test_the_recipe_for_svelte(context: BrowserContext, hop: Wayward, site: ProcessServer) -> None:
    page, errors = await opened(context, hop, "svelte")
    await shows(page, "#shown", "1")
    await tell(site, "PUT", "/document", json={"n": 2})
    await shows(page, "#shown", "2")
    assert errors == []


@pytest.mark.parametrize("name", ["vue", "svelte"])
async def test_nobody_watches_what_is_taken_away(
    context: BrowserContext, hop: Wayward, site: ProcessServer, name: str
) -> None:
    page, _ = await opened(context, hop, name)
    await shows(page, "#shown", "1")
    await page.evaluate("window.sent = []")
    await page.evaluate(
        "() => { const send = WebSocket.prototype.send; WebSocket.prototype.send = function (text) {"
        " sent.push(text); send.call(this, text) } }"
    )
    await page.get_by_role("button", name="Away").click()
    await page.wait_for_function("sent.length")
    sent = await page.evaluate("sent")
    assert [text for text in sent if "unwatch" in text] == sent


@pytest.mark.parametrize("name", ["htmx", "htmx2"])
async def test_the_recipe_for_htmx(
    context: BrowserContext, hop: Wayward, site: ProcessServer, name: str
) -> None:
    page, errors = await opened(context, hop, name)
    await shows(page, "div", "2 cups of tea")
    await tell(site, "PUT", "/orders/3?quantity=4")
    await shows(page, "div b", "4")
    await shows(page, "div", "4 cups of tea")
    assert errors == []
    hop.cut()
    await tell(site, "PUT", "/orders/3?quantity=6")
    await shows(page, "div", "6 cups of tea")


@pytest.mark.parametrize("name", ["use-live.ts", "live-store.ts", "htmx.html", "htmx2.html"])
async def test_the_page_shows_what_was_tried(name: str) -> None:
    recipe = (PAGES / name).read_text().replace("/built/", "/static/")
    assert recipe.strip() in DOCS.read_text()
