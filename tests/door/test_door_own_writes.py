"""Who has seen a write reads it, whatever answers the read: the hub is never behind the app (design 2.5).

Clients write, read, watch and leave in every order and at every speed, on a clock of their own. A read may
get what the app said when it began, or anything newer; never anything older.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from hub.virtual import run
from restive import Restive
from scenarios.asgi import http_scope

PAGE = "/shop/a"
NAMING = ("location", "content-location", "cache-group-invalidation")
DELAYS = (0.0, 0.0, 0.01, 0.05, 0.3, 1.0)

delays = st.sampled_from(DELAYS)


@dataclass(frozen=True)
class Write:
    """An unsafe request, and when the app does what."""

    how: str
    """``target``, ``child``, ``below``, or the field by which the response to another URI names the page."""
    waits: tuple[float, float, float, float]
    """Before the response, behind its head, behind its body, behind its end."""
    commits: tuple[int, ...]
    """At which of these the app commits."""
    ending: str = "ok"
    """``refused``: 409, nothing committed; ``raises``: before the response; ``breaks``: behind its head."""


@dataclass(frozen=True)
class Step:
    wait: float
    what: str
    write: Write | None = None
    who: str = ""


@dataclass(frozen=True)
class Plan:
    caching: str
    look_early: bool
    """The app reads its state at the beginning of a GET, else at its end."""
    takes: float
    steps: list[Step]


@dataclass
class App:
    plan: Plan
    live: Restive | None = None
    version: int = 0
    """What was committed."""
    seen: int = 0
    """What somebody can know: a read that begins now must not get anything older."""
    woken: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET":
            await self.read(scope, send)
        else:
            await self.write(scope["write"], send)

    async def read(self, scope: Any, send: Any) -> None:
        self.woken["look" if "restive" in scope else "read"] += 1
        version = self.version
        await asyncio.sleep(self.plan.takes)
        if not self.plan.look_early:
            version = self.version
        headers = [(b"content-type", b"text/plain"), (b"cache-groups", b'"g"')]
        if self.plan.caching:
            headers.append((b"cache-control", self.plan.caching.encode()))
        body = str(version).encode()
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": body})

    def commit(self, write: Write, at: int) -> None:
        if at in write.commits and write.ending != "refused":
            self.version += 1
            if write.how not in NAMING or at > 0:
                self.seen = self.version

    async def write(self, write: Write, send: Any) -> None:
        await asyncio.sleep(write.waits[0])
        self.commit(write, 0)
        await asyncio.sleep(write.waits[0])
        if write.ending == "raises":
            raise RuntimeError("as planned")
        headers = [(b"content-length", b"2")]
        if write.how in NAMING:
            value = '"g"' if write.how.startswith("cache") else PAGE
            headers.append((write.how.encode(), value.encode()))
        status = 409 if write.ending == "refused" else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await asyncio.sleep(write.waits[1])
        self.commit(write, 1)
        await asyncio.sleep(write.waits[1])
        if write.ending == "breaks":
            raise RuntimeError("as planned")
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await asyncio.sleep(write.waits[2])
        await send({"type": "http.response.body", "body": b"k"})
        await asyncio.sleep(write.waits[3])
        self.commit(write, 3)
        await asyncio.sleep(write.waits[3])


TARGETS = {"target": ("PUT", PAGE), "child": ("PATCH", f"{PAGE}/b"), "below": ("DELETE", "/shop")}


class Clients:
    """Those who carry out a plan."""

    def __init__(self, plan: Plan) -> None:
        self.app = App(plan)
        self.live = Restive(self.app, backend="memory:", look_concurrency=2, settle=0.3, recheck=5.0)
        self.app.live = self.live
        if not plan.caching:
            self.live.fresh(PAGE)
        self.tasks: set[asyncio.Task[None]] = set()
        self.watches: list[asyncio.Event] = []
        self.answers: Counter[str] = Counter()

    async def carry_out(self) -> None:
        for step in self.app.plan.steps:
            await asyncio.sleep(step.wait)
            if step.what == "leave":
                if self.watches:
                    self.watches.pop(0).set()
            elif step.what == "changed":
                self.app.version += 1
                self.live.changed(PAGE)
                self.app.seen = self.app.version
            else:
                task = asyncio.create_task(getattr(self, step.what)(step))
                self.tasks.add(task)
        await asyncio.sleep(1)
        for gone in self.watches:
            await asyncio.sleep(1)
            gone.set()
        async with asyncio.timeout(100):
            await asyncio.gather(*self.tasks)

    async def call(
        self,
        target: str,
        step: Step,
        on: Callable[[Any], None],
        gone: asyncio.Event | None = None,
        **more: Any,
    ) -> None:
        first = True

        async def receive() -> Any:
            nonlocal first
            if not first:
                await (gone or asyncio.Event()).wait()
                return {"type": "http.disconnect"}
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            on(message)
            await asyncio.sleep(0)

        headers = [("cookie", step.who)] if step.who else []
        await self.live(http_scope(target, headers=headers, **more), receive, send)

    async def watch(self, step: Step) -> None:
        gone = asyncio.Event()
        self.watches.append(gone)
        await self.call(f"{PAGE}?live=sse", step, lambda _: None, gone)

    async def read(self, step: Step) -> None:
        least, got, how = self.app.seen, b"", "app"

        def on(message: Any) -> None:
            nonlocal got, how
            got += message.get("body", b"")
            said = dict(message.get("headers", ())).get(b"cache-status", b"")
            how = "stored" if b"hit" in said else "collapsed" if said else how

        await self.call(PAGE, step, on)
        self.answers[how] += 1
        assert int(got) >= least, f"{how} {got!r} although {least} was known"

    async def write(self, step: Step) -> None:
        write = step.write
        assert write is not None
        method, target = TARGETS.get(write.how, ("POST", "/other"))
        started = ended = False

        def on(message: Any) -> None:
            nonlocal started, ended
            if not started and write.commits and write.ending != "refused":
                self.app.seen = max(self.app.seen, self.app.version)  # they see the response begin
            started = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self.call(target, step, on, method=method, write=write)
        except RuntimeError:
            assert write.ending in {"raises", "breaks"}
        await self.read(step)


hows = st.sampled_from(["target", "target", "child", "below", *NAMING])
writes = st.builds(
    Write,
    how=hows,
    waits=st.tuples(delays, delays, delays, delays),
    commits=st.sampled_from([(0,), (1,), (3,), (0, 3), (0, 1, 3), ()]),
    ending=st.sampled_from(["ok", "ok", "ok", "refused", "raises", "breaks"]),
).filter(lambda write: write.how not in NAMING or write.ending in {"ok", "refused"})
steps = st.one_of(
    st.builds(Step, delays, st.just("read"), who=st.sampled_from(["", "s=1", "s=2"])),
    st.builds(Step, delays, st.just("write"), write=writes),
    st.builds(Step, delays, st.sampled_from(["watch", "read"]), who=st.sampled_from(["", "s=1"])),
    st.builds(Step, delays, st.sampled_from(["changed", "leave", "read", "watch", "read"])),
)
plans = st.builds(
    Plan,
    caching=st.sampled_from(["public, max-age=600", "public, max-age=600", "s-maxage=1", ""]),
    look_early=st.booleans(),
    takes=delays,
    steps=st.lists(steps, min_size=4, max_size=25),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_nobody_reads_anything_older_than_what_was_known(plan: Plan) -> None:
    clients: list[Clients] = []

    async def main() -> None:
        clients.append(
            Clients(Plan(plan.caching, plan.look_early, plan.takes, [Step(0, "watch"), *plan.steps]))
        )
        await clients[0].carry_out()

    run(main())
    for how in clients[0].answers:
        event(how)
    assert len(clients[0].live.under_way) == 0


def test_the_hub_answers_most_reads_and_collapses_others() -> None:
    """What the property is about does happen: stored, collapsed, and the app's own answers."""
    answers: Counter[str] = Counter()
    woken: Counter[str] = Counter()

    async def main() -> None:
        write = Write("target", (0.3, 0.05, 0.0, 0.3), (0,))
        plan = [Step(0, "watch"), Step(1, "read"), Step(0, "write", write)]
        plan += [Step(pause, "read") for pause in itertools.islice(itertools.cycle(DELAYS), 60)]
        clients = Clients(Plan("public, max-age=600", True, 0.05, plan))
        await clients.carry_out()
        answers.update(clients.answers)
        woken.update(clients.app.woken)

    run(main())
    assert answers["stored"] > 30
    assert answers["collapsed"] > 3
    assert woken["read"] == 0
    assert woken["look"] < 25
