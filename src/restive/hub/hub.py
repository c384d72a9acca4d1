"""The hub of one event loop: who watches what, which looks run, and what an announcement reaches.

It starts nothing before the first watch and holds nothing after the last. Only its own loop calls
it. Nothing here awaits, so that no state can change between a check and what follows from it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ..errors import Problem
from ..http.invalidation import Change
from ..http.key import RequestKey, look_scope
from ..http.targets import ancestors
from ..settings import Settings
from ..telemetry import metrics
from ..telemetry.instruments import Reading, sources
from .departure import Draining, Usher
from .flusher import Flusher
from .gate import SWEEP, Gate
from .look import ASGIApp
from .resource import Resource
from .under_way import UnderWay
from .variant import Variant
from .watch import Sink, Watch
from .wheel import Wheel

__all__ = ["Draining", "Hub"]


REST = 8
"""While a user's request is under way, looks take at most one part in so many of the loop's time."""

PATIENCE = 0.05
"""Seconds after which a look that is still under way keeps the next one waiting no longer."""


class Hub:
    """All watches of one loop."""

    log = logging.getLogger("restive.hub")

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        state: Callable[[], Mapping[str, Any] | None],
        owner: Any = None,
        is_never: Callable[[Any], bool] = lambda _: False,
        is_fresh: Callable[[str, Any], bool] = lambda _path, _endpoint: False,
        under_way: UnderWay | None = None,
        on_use: Callable[[Hub], None] = lambda _: None,
        on_idle: Callable[[Hub], None] = lambda _: None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[Draining] = set()
        self.wheel = Wheel(self.loop)
        self.flusher = Flusher(self.loop, self._looks_under_way)
        self.draining = False
        self.usher = Usher(self.loop, settings.drain)
        self._state = state
        self._owner = owner
        self.is_never = is_never
        """Whether the app's function that answered a look may not be watched."""
        self.is_fresh = is_fresh
        """Whether the route of a path, or the function that answered a look, is fresh until changed."""
        self.under_way = UnderWay() if under_way is None else under_way
        self._on_use, self._on_idle = on_use, on_idle
        self._gate: Gate[Variant] = Gate(settings.look_concurrency, settings.look_rate)
        self._pump_timer: asyncio.TimerHandle | None = None
        self._pump_due = 0.0
        self._remembering = False
        self._foreground = 0
        self._turning = False
        self._cost = 0.0
        self._rested = 0.0
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._paths: dict[str, set[Resource]] = {}
        self._below: dict[str, set[Resource]] = {}
        self._groups: dict[str, set[Variant]] = {}
        self._polls = 0
        self._readable: Counter[str] = Counter()
        self._invalidated: dict[str, float] = {}
        self._lock = threading.Lock()
        self._posted = self._heard = 0
        self._claims: dict[str, dict[str, int]] = {}
        sources.add(self)

    def __repr__(self) -> str:
        return f"<Hub resources={len(self._resources)} looks={self._gate.running} waiting={len(self._gate)}>"

    def __len__(self) -> int:
        return len(self._resources)

    def now(self) -> float:
        """Seconds of the loop's clock."""
        return self.loop.time()

    def readings(self) -> Iterator[Reading]:
        """What is here now, for metrics; called on any thread."""
        resources = list(self._resources.values())
        variants = [variant for resource in resources for variant in list(resource.variants)]
        yield metrics.resources, (), len(resources)
        yield metrics.renderings, (), len(variants)
        yield metrics.watches, (), sum(variant.members.count() for variant in variants)
        yield metrics.looks_waiting, (), len(self._gate)
        for name, count in Counter(each.traffic.name for each in list(self.connections)).items():
            yield metrics.clients, (name,), count

    # Watches

    def watch(
        self,
        key: RequestKey,
        sink: Sink,
        *,
        cursor: str | None = None,
        patch: bool = False,
        audience: str | None = None,
    ) -> Watch:
        """Begin a watch: registered before its first look, so that no change is missed.

        ``cursor`` is the tag that the client has. Raises ``Problem`` 429 for too many variants.
        """
        watch = Watch(sink, key, cursor, patch=patch, audience=audience)
        name = (key.scheme, key.authority, key.target)
        resource = self._resources.get(name)
        fresh = resource is None
        if resource is None:
            resource = Resource(self, key)
        resource.join(watch)
        if fresh:
            self._add(name, resource)
        return watch

    def tells(self, key: RequestKey, cursor: str | None) -> bool:
        """Whether ``watch`` of the same would have something to tell at once, without a look."""
        resource = self._resources.get((key.scheme, key.authority, key.target))
        return resource is not None and resource.tells(key, cursor)

    def _add(self, name: tuple[str, str, str], resource: Resource) -> None:
        first = not self._resources
        self._resources[name] = resource
        self._paths.setdefault(resource.path, set()).add(resource)
        for path in ("/", resource.path, *ancestors(resource.path)):
            self._below.setdefault(path, set()).add(resource)
        if first:
            self._on_use(self)

    def drop(self, resource: Resource) -> None:
        """``resource`` has no watch any more."""
        name = (resource.scheme, resource.authority, resource.target)
        if self._resources.get(name) is not resource:
            return
        del self._resources[name]
        _discard(self._paths, resource.path, resource)
        for path in {"/", resource.path, *ancestors(resource.path)}:
            _discard(self._below, path, resource)
        if not self._resources:
            self._idle()

    def disconnected(self, connection: Draining) -> None:
        """``connection`` is over."""
        self.connections.discard(connection)
        self.usher.discard(connection)
        self.leave_if_idle()

    @property
    def listens(self) -> bool:
        """Whether what other processes announce matters here."""
        return bool(self._resources or self._polls)

    def polled(self, change: int) -> None:
        """One more (+1), or one less, of the long polls that wait for something else than a resource."""
        self._polls += change
        if change > 0 and self._polls == 1 and not self._resources:
            self._on_use(self)

    def leave_if_idle(self) -> None:
        """Somebody used this hub and is done: without watches and connections it goes."""
        if not self.connections and not self._resources:
            self._idle()

    def _idle(self) -> None:
        if self._pump_timer is not None:
            self._pump_timer.cancel()
            self._pump_timer = None
        if not self.connections:
            self.usher.close()
            self.wheel.close()
            self._remembering = False
        self._on_idle(self)

    def claim(self, path: str, owner: str) -> None:
        """Count one more variant of ``path`` for ``owner``. Raises ``Problem`` 429."""
        owners = self._claims.setdefault(path, {})
        count = owners.get(owner, 0)
        if count >= self.settings.max_variants:
            raise Problem(
                429, "Too many variants", f"You already watch {count} variants of {path}. Unwatch one first."
            )
        owners[owner] = count + 1

    def unclaim(self, path: str, owner: str) -> None:
        """The opposite of ``claim``."""
        owners = self._claims.get(path, {})
        count = owners.pop(owner, 0) - 1
        if count > 0:
            owners[owner] = count
        elif not owners:
            self._claims.pop(path, None)

    # Plain reads

    def readable(self, path: str, change: int) -> None:
        """One more (+1), or one less, of the variants of ``path`` can answer plain reads."""
        name = unquote(path)
        self._readable[name] += change
        if not self._readable[name]:
            del self._readable[name]

    def may_hold(self, scope_path: str, root: str) -> bool:
        """Whether a GET of this path (decoded, as in an ASGI scope) could be answered here: asked of each."""
        return scope_path in self._readable or (bool(root) and root + scope_path in self._readable)

    def stored(self, key: RequestKey, names: frozenset[bytes]) -> Variant | None:
        """The variant that a plain GET of ``key`` may be answered from, once it is known to be fresh.

        ``names`` are the fields that the client sent.
        """
        resource = self._resources.get((key.scheme, key.authority, key.target))
        return None if resource is None else resource.readable(key, names)

    # Announcements

    @property
    def told(self) -> bool:
        """Every announcement of another thread has been taken in."""
        return self._heard == self._posted

    def announce_soon(self, changes: Iterable[Change] | None) -> None:
        """``announce`` from another thread; None: ``announce_all``. Nothing is held for fresh meanwhile."""
        with self._lock:
            self._posted += 1
        try:
            self.loop.call_soon_threadsafe(self._hear, changes)
        except RuntimeError:
            return  # closed in this very moment

    def _hear(self, changes: Iterable[Change] | None) -> None:
        self._heard += 1
        if changes is None:
            self.announce_all()
        else:
            self.announce(changes)

    def invalidated(self, groups: Iterable[str], since: float) -> bool:
        """Whether one of ``groups`` was invalidated at ``since`` (the loop's clock) or later."""
        return any(self._invalidated.get(group, -1.0) >= since for group in groups)

    def _invalidate(self, group: str) -> None:
        """Remember it for looks under way, of which nobody knows their groups yet."""
        now = self.now()
        self._invalidated.pop(group, None)
        self._invalidated[group] = now
        oldest = next(iter(self._invalidated))
        if now - self._invalidated[oldest] > 2 * self.settings.look_timeout:
            del self._invalidated[oldest]

    def announce(self, changes: Iterable[Change]) -> None:
        """Look again at what ``changes`` name, each resource once."""
        resources: dict[Resource, None] = {}
        variants: dict[Variant, None] = {}
        for change in changes:
            if change.group:
                self._invalidate(change.group)
                variants.update(dict.fromkeys(self._groups.get(change.group, ())))
                continue
            index = self._below if change.below else self._paths
            resources.update(dict.fromkeys(index.get(change.path, ())))
        for resource in resources:
            resource.announce()
        for variant in variants:
            variant.announce()

    def announce_all(self) -> None:
        """Announcements may have been lost: look at everything again."""
        self.announce([Change("/", below=True)])

    def join_groups(self, variant: Variant, groups: Iterable[str]) -> None:
        """``variant`` is looked at when one of ``groups`` is invalidated."""
        for group in groups:
            self._groups.setdefault(group, set()).add(variant)

    def leave_groups(self, variant: Variant, groups: Iterable[str]) -> None:
        """The opposite of ``join_groups``."""
        for group in groups:
            _discard(self._groups, group, variant)

    # Looks

    def scope_of(self, key: RequestKey, reason: str) -> dict[str, Any]:
        """The ASGI scope of a look, built from ``key`` alone."""
        return look_scope(key, state=self._state(), app=self._owner, reason=str(reason))

    def enqueue(self, variant: Variant, principal: str) -> None:
        """``variant`` wants to look."""
        self._gate.put(principal, variant)
        if not self._turning:
            # Not in this turn: what is announced in it again is the same look's to see.
            self._turning = True
            self.loop.call_soon(self._next_turn)

    def look_out_of_turn(self) -> None:
        """A look begins that the gate was not asked for; it counts as one that runs."""
        self._gate.running += 1

    def look_ended(self) -> None:
        """A look is over; the next may begin."""
        self._gate.free()
        self.flusher.look_ended()
        self._rest(self.now())
        self._pump()

    def _looks_under_way(self) -> int:
        return self._gate.running + len(self._gate)

    def foreground(self, change: int) -> None:
        """A user's own request begins (+1) or its response does (-1): looks give way to it."""
        self._foreground += change
        if change < 0 and not self._foreground and self._pump_timer is not None:  # looks may wait for it
            self._pump()

    def _rest(self, since: float) -> None:
        """While users' requests are under way, looks rest in proportion to what the last one took."""
        self._rested = min(self._rested, since + REST * self._cost)

    def _pump(self) -> None:
        """Begin the next look, where one may begin now: never two in one turn of the loop."""
        if self._turning or not len(self._gate):
            return
        now = self.now()
        if self._foreground and now < self._rested:
            self._pump_at(self._rested)
            return
        while (variant := self._gate.take(now)) is not None:
            before = time.thread_time()
            self._remember(now)
            if variant.begin():
                self._turning = True
                self._rested = now + PATIENCE
                self.loop.call_soon(self._turned, before)
                return
            self._gate.free()
        at = None if self._gate.full else self._gate.next_time(now)
        if at is not None:
            self._pump_at(at)

    def _remember(self, now: float) -> None:
        """Have the wheel come by until the gate has forgotten who looked."""
        if self._gate.remembers and not self._remembering:
            self._remembering = True
            self.wheel.at(now + SWEEP, self)

    def tick(self, now: float) -> float | None:
        """What the wheel asks."""
        when = self._gate.tick(now)
        self._remembering = when is not None
        return when

    def _turned(self, before: float) -> None:
        """The look's first step is done."""
        self._cost = time.thread_time() - before
        # Two turns, so that a request which came meanwhile is seen before the next look begins.
        self.loop.call_soon(self.loop.call_soon, self._next_turn)

    def _next_turn(self) -> None:
        self._turning = False
        if not self._gate.running:
            self._rest(self.now())
        self._pump()

    def _pump_at(self, at: float) -> None:
        if self._pump_timer is not None:
            if self._pump_due <= at:
                return
            self._pump_timer.cancel()
        # Kept beside the handle: uvloop's has no `when` where the time has come already.
        self._pump_due = at
        self._pump_timer = self.loop.call_at(at, self._pump_later)

    def _pump_later(self) -> None:
        self._pump_timer = None
        self._pump()

    # Shutdown

    def drain(self) -> None:
        """The server stops: every connection says when to come back and ends, one after the other."""
        self.draining = True
        for connection in list(self.connections):
            self.usher.add(connection)

    def drain_now(self) -> None:
        """The time is over: every connection that is left says when to come back and ends."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()
        self.flusher.finish()


def _discard(index: dict[str, set[Any]], name: str, item: Any) -> None:
    found = index.get(name)
    if found is not None:
        found.discard(item)
        if not found:
            del index[name]
