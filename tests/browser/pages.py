"""Pages on which the tests play: what is on them from the start, and how one is opened."""

from __future__ import annotations

from playwright.async_api import BrowserContext, Page
from wayward import Wayward

QUICK = """
  window.short = {
    patience: 600, silence: 3000, wait: 2000, pollInterval: 100, backoff: 50, mostBackoff: 400,
  }
  window.make = (options = {}, policy = {}) => client.restive(undefined, {
    ...options,
    policy: { ...short, ...policy },
  })
  // Watches in `seen` what it is shown, in `errors` how it ended and in `states` how it was on the way.
  window.follow = (live, url, options = {}) => {
    const found = { seen: [], errors: [], states: [] }
    found.stop = live.watch(url, (data) => found.seen.push(data), {
      onError: (error) => found.errors.push(`${error.name}: ${error.message}`),
      onStatus: ({ is, transport }) => found.states.push(transport ?? is),
      ...options,
    })
    return found
  }
"""


async def opened(context: BrowserContext, proxy: Wayward) -> Page:
    page = await context.new_page()
    page.set_default_timeout(20_000)
    await page.add_init_script(QUICK)
    await page.goto(f"{proxy.url}/page")
    await page.wait_for_function("window.client")
    return page
