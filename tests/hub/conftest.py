"""Both loops, and both ways to write to many descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from connections import Play

from restive.hub import fanout, push

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
SENDS = {"python": fanout._send_all, "native": fanout.send_all}


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Play:
    """Run a coroutine on each of the two loops."""

    def on_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return on_loop


@pytest.fixture(params=SENDS)
def send_all(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> fanout.Send:
    """Each of the two; pushes use it as well."""
    monkeypatch.setattr(push, "send_all", SENDS[request.param])
    return SENDS[request.param]
