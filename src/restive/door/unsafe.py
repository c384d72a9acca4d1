"""An unsafe request on its way through: what it changes is announced (design 2.2), If-Match kept (4.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from weakref import WeakValueDictionary

from ..errors import Problem
from ..http.fields import Fields, get, lowered
from ..http.invalidation import Change, changed_by
from ..http.targets import normalize, scope_target
from ..http.validators import if_match_is_ours, parse_tags, same
from ..hub.look import Answer, Look
from ..hub.rendering import from_answer
from ..hub.under_way import UnderWay
from ..transports.outlet import Message, Receive, Send
from .core import RELAYED, Core, Scope

log = logging.getLogger("restive.door")


class Held:
    """What one unsafe request may have changed: until its call has returned the hub answers no read of it.

    From its beginning, since the app may commit at any time; what its response names is added before
    the first byte of it is sent. So whoever has seen any of the response reads what was written.
    """

    __slots__ = ("_changes", "_under_way")

    def __init__(self, under_way: UnderWay) -> None:
        self._under_way = under_way
        self._changes: list[Change] = []

    def add(self, changes: Iterable[Change]) -> None:
        """It may have changed these as well."""
        found = tuple(changes)
        self._under_way.begin(found)
        self._changes += found

    def release(self) -> None:
        """It is over and was announced."""
        self._under_way.end(self._changes)


class Writes:
    """Runs unsafe requests of one front door."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def condition(self, scope: Scope) -> asyncio.Lock | None:
        """One writer at a time per URI, where If-Match names tags that only Restive can judge.

        Returns the lock that the caller releases behind the write. Raises ``Problem`` 412.
        """
        asked = get(tuple(scope["headers"]), b"if-match")
        if asked is None or not if_match_is_ours(asked):
            return None
        name = (id(asyncio.get_running_loop()), scope["path"])
        lock = self._locks.setdefault(name, asyncio.Lock())
        await lock.acquire()
        try:
            await self._check(scope, parse_tags(asked) or [])
        except BaseException:
            lock.release()
            raise
        return lock

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, and announce what it changed: when its response was sent, and when it returned.

        FastAPI commits in endpoints, background tasks and ``yield`` dependencies, the last of which
        end just before the call returns.
        """
        status: int | None = None
        fields: Fields = ()
        changes: tuple[Change, ...] = ()
        written = dict(scope)  # before routers write their own root path into it
        held = Held(self._core.live.under_way)
        held.add(_changes(written, None, (), ancestors=self._core.settings.ancestors))

        async def watch(message: Message) -> None:
            nonlocal status, fields, changes
            if message["type"] == "http.response.start":
                status = message["status"]
                fields = lowered(message.get("headers", ()))
                changes = self._changed(written, status, fields)
                held.add(changes)
                if RELAYED not in written:
                    self._core.cookies.answered(tuple(written["headers"]), fields)
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)
            if last:
                self._announce(changes)

        try:
            await self._core.app(scope, receive, watch)
        finally:
            try:
                self._announce(changes if status is not None else self._changed(written, None, ()))
            finally:
                held.release()

    def _changed(self, scope: Scope, status: int | None, fields: Fields) -> tuple[Change, ...]:
        settings = self._core.settings
        if settings.changes is not None:
            return self._own_rule(scope, status, fields)
        return _changes(scope, status, fields, ancestors=settings.ancestors)

    def _announce(self, changes: tuple[Change, ...]) -> None:
        if changes:
            self._core.live.announce(changes)

    def _own_rule(self, scope: Scope, status: int | None, fields: Fields) -> tuple[Change, ...]:
        rule = self._core.settings.changes
        assert rule is not None
        said = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
        try:
            return tuple(
                Change(normalize(path).partition("?")[0]) for path in rule(scope, status or 500, said)
            )
        except Exception:
            log.exception("changes= raised for %s %s; the usual rule is used", scope["method"], scope["path"])
            return _changes(scope, status, fields, ancestors=self._core.settings.ancestors)

    async def _check(self, scope: Scope, tags: Iterable[str]) -> None:
        """Raises ``Problem`` 412 where the representation that this client would get has none of ``tags``."""
        core = self._core
        loop = asyncio.get_running_loop()
        hub = core.live.hub()
        answered: asyncio.Future[Answer] = loop.create_future()
        look = Look(
            core.app,
            hub.scope_of(core.key(scope), "condition"),
            core.settings.max_representation,
            lambda answer: None if answered.done() else answered.set_result(answer),
        )
        look.start(core.settings.look_timeout, hub.tasks)
        try:
            answer = await answered
        finally:
            look.cancel()
            hub.leave_if_idle()
        current = from_answer(answer).etag if 200 <= answer.status < 300 and answer.whole else None
        if current is None or not any(same(tag, current) for tag in tags):
            headers = {"ETag": current} if current else {}
            raise Problem(
                412,
                detail="The resource has changed since you read it. GET it again and repeat.",
                headers=headers,
            )


def _changes(scope: Scope, status: int | None, fields: Fields, *, ancestors: bool) -> tuple[Change, ...]:
    try:
        target = scope_target({**scope, "query_string": b""})
    except Problem:
        return ()  # what cannot be named cannot be watched
    authority = get(tuple(scope["headers"]), b"host") or ""
    root = scope.get("root_path") or ""
    scheme = scope.get("scheme") or "http"
    return changed_by(
        scope["method"], target, authority, scheme, status, fields, ancestors=ancestors, root=root
    )
