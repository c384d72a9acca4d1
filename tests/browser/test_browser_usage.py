"""Calls that cannot work fail at once, with an error that says what to do."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLS = {
    "live.watch()": 'write a path such as "/orders/3"',
    "live.watch(3)": "3 is no URL",
    "live.watch('')": "An empty text is no URL",
    "live.watch('http://[')": "is no URL",
    "live.watch('https://other.test/a')": 'make a client by restive("https://other.test")',
    "live.watch('/a#b')": "leave out what begins with #",
    "live.watch('/a#')": "leave out what begins with #",
    "live.watch('/' + 'a'.repeat(8192))": "at most 8192 bytes",
    "live.watch('/a', { transport: 'sse' })": "options come third",
    "live.watch('/a', undefined, { transport: 'pigeon' })": "one of auto, websocket, sse, long-poll, poll",
    "client.restive('ftp://other.test')": "not ftp://other.test",
}


async def test_says_what_to_do(page: Page) -> None:
    for call, expected in CALLS.items():
        told = await page.evaluate(
            """(call) => {
              live = client.restive()
              try {
                eval(call)
              } catch (error) {
                return [error instanceof client.UsageError, error.name, error.message]
              }
            }""",
            call,
        )
        assert told is not None, f"{call} works"
        assert told[:2] == [True, "UsageError"], call
        assert expected in told[2]
