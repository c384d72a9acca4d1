"""Servers that may be killed, and a client that speaks to each of them by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from faults import journal
from faults.fleet import Fleet, Member, eventually
from faults.history import FINAL, History, Submitted
from faults.observers import OWNER, Observers

WITHIN = 30.0
Holds = Callable[[dict[str, Any]], Any]


class Scene:
    """A fleet, and what one client does with its servers. ``history`` is judged as in the crash test."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        settings = {"lease": 1.0, "workers": 2, "stop_grace": 0.5, **settings}
        settings["backend"] = f"sqlite:///{folder / 'restive.db'}"
        self.fleet = Fleet(folder, {"FAULTS_SETTINGS": json.dumps(settings)})
        self.history = History()
        self.http = httpx2.AsyncClient(headers=OWNER, timeout=20.0)
        self._observers: list[Observers] = []

    async def start(self, port: int = 0) -> Member:
        return await self.fleet.start(port)

    async def stop(self) -> None:
        for each in self._observers:
            await each.aclose()
        await self.http.aclose()
        self.fleet.stop()

    def observers(self, member: Member) -> Observers:
        """Recording clients of one server."""
        self._observers.append(Observers(member.url, self.history))
        return self._observers[-1]

    async def submit(
        self, member: Member, collection: str, steps: int = 10, pace: float = 0.1, **headers: str
    ) -> str:
        """Submit an operation that takes ``steps`` times ``pace`` seconds. Returns its path."""
        params, asked = {"steps": steps, "pace": pace}, time.monotonic()
        answer = await self.http.post(member.url + collection, params=params, headers=headers)
        assert answer.status_code == 202, answer.text
        op = answer.headers["location"]
        self.history.add(
            Submitted(at=time.monotonic(), key=headers.get("key", op), asked=asked, status=202, op=op)
        )
        return op

    async def get(self, member: Member, op: str) -> dict[str, Any]:
        answer = await self.http.get(member.url + op)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(self, member: Member, op: str, holds: Holds, within: float = WITHIN) -> dict[str, Any]:
        """The document once ``holds`` is true of it."""
        found: list[dict[str, Any]] = []

        async def poll() -> None:
            while not (found and holds(found[-1])):
                found.append(await self.get(member, op))

        try:
            await asyncio.wait_for(poll(), within)
        except TimeoutError:
            raise AssertionError(f"{found[-1:]}\n{member.log[-3000:]}") from None
        return found[-1]

    async def done(self, member: Member, op: str) -> dict[str, Any]:
        """The document once it is final."""
        return await self.until(member, op, lambda it: it["status"] in FINAL)

    def notes(self, op: str, *what: str) -> list[journal.Note]:
        """What the operation's functions wrote down so far."""
        self.history.notes = journal.read(self.fleet.journal)
        return self.history.notes_of(op, *what)

    async def at_work(self, op: str, number: int = 2, attempt: int = 1) -> int:
        """Wait until the function has come to a step; the process that runs it."""

        def steps() -> list[journal.Note]:
            notes = [each for each in self.notes(op, "step") if each.attempt == attempt]
            return [each for each in notes if each.detail.get("number", number) >= number]

        try:
            await eventually(steps, WITHIN)
        except TimeoutError:
            logs = "\n".join(each.log[-3000:] for each in self.fleet.members)
            raise AssertionError(f"{op} does not come to step {number}: {self.notes(op)}\n{logs}") from None
        return steps()[-1].pid


@pytest.fixture
async def new_scene(tmp_path: Path) -> AsyncIterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def make(**settings: Any) -> Scene:
        scenes.append(Scene(tmp_path, **settings))
        return scenes[-1]

    yield make
    for each in scenes:
        await each.stop()


@pytest.fixture
def scene(new_scene: Callable[..., Scene]) -> Scene:
    return new_scene()
