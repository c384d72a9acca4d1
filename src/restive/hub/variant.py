"""A variant: those watches of a resource that share one rendering, and the loop that keeps it fresh.

Who may share is decided for each response before a byte is written (design 2.1): whom a response
may not reach is moved to a variant of its own, where it gets a look with its own request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..http.freshness import is_final, lifetime
from ..http.invalidation import cache_groups
from ..http.key import RequestKey
from ..http.reuse import Stored, store
from ..http.sharing import per_watcher, shareable, shares, vary
from ..http.validators import same
from ..telemetry.tracing import cause
from .gate import ADDRESS
from .kind import Kind
from .look import Answer, Look
from .members import Members
from .push import Push
from .rendering import Rendering
from .schedule import Due, Reason, Schedule
from .verdict import Found, Later, Over, Verdict, judge, not_watchable
from .watch import FINAL, End, Watch
from .witness import Outcome, Witness

if TYPE_CHECKING:
    from .resource import Resource

log = logging.getLogger("restive.hub")

FEW = 32
"""Watches that are told at once; more are told in slices of a turn of the loop."""

NEAR, EARLY, FAR = 2.0, 1.5, 30.0
"""Seconds: a look that is farther away than ``NEAR`` waits on the wheel, which comes by ``EARLY`` before it,
since it may be up to two turns late, and every ``FAR`` seconds at least."""

NO_NAMES: frozenset[bytes] = frozenset()
NO_GROUPS: frozenset[str] = frozenset()


class Variant:
    """Members by request, the current rendering, and when to look again."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_begun",
        "_look",
        "_on_wheel",
        "_queued",
        "_timer",
        "_witness",
        "audience",
        "began",
        "cause",
        "exemplar",
        "groups",
        "kind",
        "looks",
        "members",
        "owner",
        "readers",
        "rendering",
        "resource",
        "schedule",
        "stored",
        "vary",
        "waiting",
    )

    def __init__(self, resource: Resource, key: RequestKey, kind: Kind = Kind.REQUEST) -> None:
        self.resource = resource
        self.exemplar = key
        self.kind = kind
        self.owner = ""
        self.audience: str | None = None
        self.vary = NO_NAMES
        self.groups = NO_GROUPS
        self.rendering: Rendering | None = None
        self.began = 0.0
        """When the look began that ``rendering`` is of: what decides which of two is the newer."""
        self.stored: Stored | None = None
        """What plain reads may be answered with, while ``known``."""
        self.readers: list[tuple[int, asyncio.Future[Stored | None]]] | None = None
        self.members = Members()
        self.waiting: list[Watch] | None = None
        self.schedule = Schedule(resource.hub.settings, resource.hub.now())
        self._timer: asyncio.TimerHandle | None = None
        self._look: Look | None = None
        self._queued = self._on_wheel = False
        self._begun = 0.0
        self.looks = 0
        """Looks that have begun."""
        self._asked: RequestKey | None = None
        self._witness: Witness | None = None
        self.cause: Any = None
        """The span that announced what the next look will see."""

    def __iter__(self) -> Iterator[Watch]:
        return iter(list(self.members))

    @property
    def asker(self) -> RequestKey:
        """The most recent member's request."""
        return self.members.latest().key

    # Members

    def join(self, watch: Watch) -> None:
        """Take ``watch`` in; it is told at once, or after a look."""
        self.members.add(watch)
        watch.variant = self
        # Who was told something here already is not asked what it had before.
        if self.serves(watch.key, None if watch.seen is not None else watch.cursor):
            watch.since = 0
            watch.sink.ready(watch)
            return
        self.await_look(watch)

    def await_look(self, watch: Watch) -> None:
        """Let ``watch`` be told by the next look.

        One that is under way will do for who has neither credential nor cursor: a right may have
        been withdrawn, and a cursor may be of a state, since it began. It will do as well where it finds
        just what the cursor is of: thousands who come back at once ask for no more than one look. After a
        change since it began it will not do: whoever made that would be told what was before it.
        """
        if self.waiting is None:
            self.waiting = []
        self.waiting.append(watch)
        strict = watch.key.is_credentialed or watch.cursor is not None
        strict = strict or self.schedule.wanted or self._unsettled
        watch.since = self.looks + 1 if strict else 0
        if watch.key.is_credentialed or self.schedule.in_flight is None:
            self.schedule.want(self.resource.hub.now())
        self.arm()

    def _admit(self, rendering: Rendering) -> None:
        """Let those be told who wait for a later look but have this rendering."""
        for watch in self.waiting or ():
            has_it = watch.cursor is not None and same(watch.cursor, rendering.etag)
            if has_it and watch.since > self.looks and not watch.key.is_credentialed:
                watch.since = self.looks

    def serves(self, key: RequestKey, cursor: str | None) -> bool:
        """Whether what is held answers a new member, who has ``cursor``, without a look.

        Where a credential is involved the right is checked first; a cursor that is not ours may
        be newer than what we hold.
        """
        rendering = self.rendering
        if rendering is None or not self.schedule.fresh or self._unsettled:
            return False
        if self.kind is not Kind.SHARED and key.is_credentialed:
            return False
        return cursor is None or same(cursor, rendering.etag)

    def leave(self, watch: Watch) -> None:
        """Let ``watch`` go; the last one takes the variant with it."""
        self.members.discard(watch)
        if not self.members:
            self.stop()
            self.resource.drop(self)

    def stop(self) -> None:
        """No timer, no look, no place in the queue that counts."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._look is not None:
            self._look.cancel()
            self._look = None
            self._testify("moot")
            self.resource.hub.look_ended()
        self._release(None)

    # Plain reads

    @property
    def known(self) -> bool:
        """Whether what is held is of a look that began after the last change this process knows of."""
        return self.schedule.known and not self._unsettled

    @property
    def _unsettled(self) -> bool:
        """Whether something may have changed that was not announced here yet."""
        hub = self.resource.hub
        return not hub.told or hub.under_way.touches(self.resource.path, self.groups)

    def ask(self) -> asyncio.Future[Stored | None] | None:
        """What the app says from now on, one look for all who ask; None where each asks it better itself.

        The future gives None where the answer is not for everybody who waits for it.
        """
        if self.schedule.failing or not self.members:
            return None
        reader: asyncio.Future[Stored | None] = self.resource.hub.loop.create_future()
        self._wait(self.looks + 1, reader)
        if self._look is None:
            self._look_now()
        return reader

    def _wait(self, least: int, reader: asyncio.Future[Stored | None]) -> None:
        if self.readers is None:
            self.readers = []
        self.readers.append((least, reader))

    def _look_now(self) -> None:
        """A look for users' own requests: out of turn, since each would have cost a call of the app."""
        hub = self.resource.hub
        reason = Reason.CHANGED if self.schedule.looked else Reason.FIRST
        hub.look_out_of_turn()
        self._start(Due(hub.now(), reason, announced=True))

    def _release(self, stored: Stored | None) -> None:
        """Answer those who wait for a look that began after they asked, or after the last change."""
        if self.readers is None:
            return
        waiting, self.readers = self.readers, None
        known = stored is None or self.known
        for least, reader in waiting:
            if not known and least > self.looks:
                self._wait(least, reader)
            elif not reader.done():
                reader.set_result(stored)

    def store(self, stored: Stored | None) -> None:
        """From now on plain reads may be answered with ``stored``."""
        self.resource.edition += 1
        if (stored is None) != (self.stored is None):
            self.resource.hub.readable(self.resource.path, -1 if stored is None else +1)
        self.stored = stored

    def _store(self, key: RequestKey, answer: Answer) -> None:
        """Keep for plain reads what the look to ``key`` found, where it may be reused."""
        hub, rendering = self.resource.hub, self.rendering
        shared = self.kind is Kind.SHARED
        declared = (
            hub.settings.fresh_max
            if self.kind is Kind.REQUEST and hub.is_fresh(key.path, answer.endpoint)
            else None
        )
        if rendering is None or answer.status != 200 or not answer.whole or not (shared or declared):
            self.store(None)
            return
        self.store(
            store(
                key, answer.fields, rendering.body, rendering.etag, shared=shared, declared=declared,
                requested=self._begun, received=hub.now(), unix=time.time(),
            )
        )  # fmt: skip

    # The refresh loop

    def announce(self) -> None:
        """Something may have changed."""
        self.cause = cause() or self.cause
        self.schedule.announce(self.resource.hub.now())
        self.arm()

    def arm(self) -> None:
        """Set the timer to the next look that is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.schedule.due()
        if due is None or self._queued or not self.members:
            return
        hub = self.resource.hub
        now = hub.now()
        if due.at <= now:
            self._enqueue()
        elif due.at - now > NEAR and not self._on_wheel:
            # A timer of its own costs as much as all else that is known of a variant.
            self._on_wheel = True
            hub.wheel.at(min(due.at - EARLY, now + FAR), self)
        elif due.at - now <= FAR:
            self._timer = hub.loop.call_at(due.at, self._enqueue)

    def tick(self, now: float) -> float | None:  # noqa: ARG002 - the wheel's signature
        """The wheel comes by."""
        self._on_wheel = False
        self.arm()
        return None

    def _enqueue(self) -> None:
        if self.members and not self._queued:
            self._queued = True
            self.resource.hub.enqueue(self, self._principal())

    def _principal(self) -> str:
        """Who pays for the look: what anybody may see nobody, else a credential or an address."""
        if self.kind is Kind.SHARED:
            return ""
        key = self.asker
        return key.principal or f"{ADDRESS}{self.members.latest().sink.peer}"

    def begin(self) -> bool:
        """The gate lets this variant look. False where there is nothing to look at any more."""
        self._queued = False
        hub, due = self.resource.hub, self.schedule.due()
        if due is None or not self.members:
            return False
        if due.at > hub.now():
            self.arm()
            return False
        if due.rights and self.kind is Kind.AUDIENCE:
            self._dissolve()
        self._start(due)
        return True

    def _start(self, due: Due) -> None:
        hub = self.resource.hub
        self._begun = hub.now()
        self.looks += 1
        self.schedule.begin(due, self._begun)
        self._asked = key = self.asker
        self._look = Look(
            hub.app, hub.scope_of(key, due.reason), hub.settings.max_representation, self._looked
        )
        self._witness = Witness(self._begun, due.reason, key.path, self.cause)
        self.cause = None
        self._look.start(hub.settings.look_timeout, hub.tasks, self._witness.context)

    def _dissolve(self) -> None:
        """Everybody in an audience is looked for with their own request; those who agree join again."""
        asker = self.asker
        self.resource.rehome(watch for watch in self if watch.key != asker)

    def _looked(self, answer: Answer) -> None:
        hub, key = self.resource.hub, self._asked
        self._look = None
        hub.look_ended()
        if key is None or key not in self.members:
            # Whose request it was has left; nobody else may be judged by its answer.
            self._testify("moot")
            self._release(None)
            self.schedule.again(hub.now())
            self.arm()
            return
        if hub.is_never(answer.endpoint):
            verdict: Verdict = not_watchable(self.resource.target)
        else:
            verdict = judge(answer, absent_is_state=hub.settings.absent == "wait", now=time.time())
        if isinstance(verdict, Later):
            self._testify("failed")
            self._later(answer, verdict)
        elif isinstance(verdict, Over):
            self._testify("ended")
            self._over(key, answer, verdict)
        else:
            self._found(key, answer, verdict)

    def _testify(self, outcome: Outcome) -> None:
        """The look under way has ended."""
        witness, self._witness = self._witness, None
        if witness is not None:
            witness.over(self.resource.hub.now(), outcome)

    def _later(self, answer: Answer, verdict: Later) -> None:
        hub = self.resource.hub
        self.schedule.failed(hub.now(), verdict.retry_after)
        self._release(None)
        log.info(
            "A look at %s had no answer (%s); it is kept and tried again",
            self.resource.target,
            answer.error or answer.status,
        )
        self.arm()

    def _over(self, key: RequestKey, answer: Answer, verdict: Over) -> None:
        hub = self.resource.hub
        self.schedule.again(hub.now())
        self._release(None)
        if verdict.refused or self.kind is Kind.AUDIENCE:
            mine = self.members.pop(key)
        else:
            self._keep(key, answer)
            mine = list(self)
            self.members.clear()
        for watch in mine:
            if watch.since > self.looks:
                self.members.add(watch)  # what it is to be told may have come to be since this look began
            else:
                watch.ended(verdict.end)
        if self.members:
            self.arm()
        else:
            self.stop()
            self.resource.drop(self)

    def _found(self, key: RequestKey, answer: Answer, verdict: Found) -> None:
        hub, due = self.resource.hub, self.schedule.in_flight
        self._keep(key, answer)
        rendering, before = verdict.rendering, self.rendering
        self.began = self._begun
        # A representation that is not whole can change behind the part that was read.
        if before is not None and rendering.fetch and not answer.whole:
            rendering.follows(before, announced=due is not None and due.reason is Reason.CHANGED)
        changed = before is None or not rendering.same_as(before)
        self._testify("changed" if changed else "same")
        if changed:
            self.rendering = rendering
        if self.schedule.done(
            hub.now(), changed=changed and before is not None, lifetime=lifetime(answer.fields)
        ):
            log.warning(
                "%s was different at %d looks that nobody announced: a timestamp or a nonce in it? "
                "It is now looked at every %g s only. Leave that out, or call changed() when it changes.",
                self.resource.target, 5, hub.settings.recheck,
            )  # fmt: skip
        groups = cache_groups(answer.fields)
        self.resource.regroup(self, groups)
        if groups and hub.invalidated(groups, self._begun):
            self.schedule.announce(hub.now())  # nobody knew that it was in them
        self._store(key, answer)
        self._release(self.stored)
        self._admit(rendering)
        self._tell(everybody=changed)
        if self.waiting:
            self.schedule.want(hub.now())
        if is_final(answer.fields, hub.settings.final_after):
            self._finish()
            return
        self.resource.settle(self)
        self.arm()
        if self.readers and self.members:
            self._look_now()

    def adopt(self, other: Variant) -> None:
        """Take over another variant's rendering, which these members may see as well, where it is newer."""
        rendering = other.rendering
        if rendering is None or other.began <= self.began:
            return
        self.began = other.began
        self.store(other.stored)
        if self.rendering is None or not rendering.same_as(self.rendering):
            self.rendering = rendering
            self._tell(everybody=True)

    def _tell(self, *, everybody: bool) -> None:
        told, self.waiting = self.waiting or [], None
        due = list(self.members) if everybody else told
        if len(due) > FEW:
            self.resource.hub.flusher.push(Push(self, due))
        else:
            for watch in due:
                if watch.variant is self and watch.since <= self.looks:
                    watch.sink.ready(watch)
        left = [watch for watch in told if watch.variant is self and watch.since > self.looks]
        self.waiting = left or None

    def _finish(self) -> None:
        for watch in self:
            watch.ended(End(FINAL))
        # The members keep this variant until they have taken its last state.
        self.stop()
        self.members.clear()
        self.resource.drop(self)

    # Sharing

    def _keep(self, key: RequestKey, answer: Answer) -> None:
        """Keep those whom this response may reach, and move the others to looks of their own."""
        if per_watcher(answer.fields):
            self._keep_one(key)
        elif self.kind is Kind.AUDIENCE and answer.status == 200:
            return
        elif shareable(answer.status, answer.fields):
            self._keep_selected(key, vary(answer.fields) or frozenset())
        else:
            self.kind = Kind.REQUEST
            self._move(watch for watch in self if watch.key is not key and watch.key != key)
        self.exemplar = key

    def _keep_one(self, key: RequestKey) -> None:
        self.kind = Kind.SOLO
        keeper = self.members.latest_of(key)
        self._move((watch for watch in self if watch is not keeper), solo=True)

    def _keep_selected(self, key: RequestKey, names: frozenset[bytes]) -> None:
        if self.kind is Kind.SHARED and names == self.vary:
            return  # each was compared when it joined
        self.kind, self.vary = Kind.SHARED, names
        self._move(watch for watch in self if watch.key is not key and not shares(names, key, watch.key))

    def _move(self, watches: Iterable[Watch], *, solo: bool = False) -> None:
        if len(self.members) > 1 or solo:
            self.resource.rehome(watches, solo=solo)
