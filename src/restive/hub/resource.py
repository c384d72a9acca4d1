"""A resource: one URI that is watched here, and its variants.

Keeps the lookup by which a new watch finds those it may share with, and moves watches between
variants after each look, so that those who may share do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..http.key import RequestKey
from ..http.reuse import matches
from ..http.sharing import shares
from .kind import Kind
from .variant import Variant
from .watch import Watch

if TYPE_CHECKING:
    from .hub import Hub

MANY_LOOKS = 20
"""Credentials that each cost a look of one resource, from which on the log says so."""


class Resource:
    """All variants of one URI."""

    __slots__ = (
        "_audiences",
        "_requests",
        "_shared",
        "_warned",
        "authority",
        "edition",
        "hub",
        "path",
        "scheme",
        "target",
        "variants",
    )

    def __init__(self, hub: Hub, key: RequestKey) -> None:
        self.hub = hub
        self.scheme = key.scheme
        self.authority = key.authority
        self.target = key.target
        self.path = key.path
        self.variants: dict[Variant, None] = {}
        self.edition = 0
        """Another number whenever ``readable`` may give another variant."""
        self._requests: dict[RequestKey, Variant] = {}
        self._shared: list[Variant] = []
        self._audiences: dict[str, Variant] = {}
        self._warned = False

    def join(self, watch: Watch) -> None:
        """Place a new watch. Raises ``Problem`` 429 where its principal has too many variants here."""
        variant = self._variant_for(watch.key)
        if variant is None:
            owner = watch.key.principal or watch.sink.peer
            self.hub.claim(self.path, owner)
            variant = self._make(watch.key)
            variant.owner = owner
        variant.join(watch)

    def tells(self, key: RequestKey, cursor: str | None) -> bool:
        """Whether a new watch of ``key`` that has ``cursor`` would be told something without a look."""
        variant = self._variant_for(key)
        return variant is not None and variant.serves(key, cursor)

    def readable(self, key: RequestKey, names: frozenset[bytes]) -> Variant | None:
        """The variant that a plain GET may be answered from, of several the newest (RFC 9111, 4.1).

        ``names`` are the fields that the client sent, those in ``key`` and those that are not.
        """
        same = self._requests.get(key)
        candidates = self._shared if same is None else [*self._shared, same]
        found: list[Variant] = [
            each for each in candidates if each.stored is not None and matches(each.stored, key, names)
        ]
        if len(found) < 2:
            return found[0] if found else None
        return max(found, key=lambda variant: variant.began)

    def announce(self) -> None:
        """Something may have changed here."""
        for variant in list(self.variants):
            variant.announce()
        if len(self.variants) >= MANY_LOOKS and not self._warned:
            self._warn()

    def _warn(self) -> None:
        principals = {key.principal for variant in self.variants for key in variant.members.requests()} - {""}
        if len(principals) >= MANY_LOOKS:
            self._warned = True
            self.hub.log.warning(
                "%d credentials each cost a look of %s: declare it public, or give audience=.",
                len(principals), self.path,
            )  # fmt: skip

    def rehome(self, watches: Iterable[Watch], *, solo: bool = False) -> None:
        """Move watches out of their variant to where their own request is asked."""
        for watch in list(watches):
            old = watch.variant
            if old is None:
                continue
            old.members.discard(watch)
            target = None if solo else self._requests.get(watch.key)
            if target is None or target is old:
                target = self._make(watch.key, Kind.SOLO if solo else Kind.REQUEST)
            target.join(watch)

    def settle(self, variant: Variant) -> None:
        """After a look: let ``variant`` be found by those who may share it, or join its like."""
        self.edition += 1
        if self._is_settled(variant):
            return
        self._forget(variant)
        home = self._home(variant)
        if home is not None and home is not variant:
            home.adopt(variant)
            self._merge(variant, home)

    def _is_settled(self, variant: Variant) -> bool:
        """Whether it is found by its own request, as it is to be."""
        return (
            variant.kind is Kind.REQUEST
            and self._requests.get(variant.exemplar) is variant
            and variant.members.requests() == [variant.exemplar]
            and self._audience_of(variant) is None
        )

    def _home(self, variant: Variant) -> Variant | None:
        """The variant that ``variant`` should be part of, registering it where it is the first."""
        key = variant.exemplar
        if variant.kind is Kind.SHARED:
            for other in self._shared:
                if other.vary == variant.vary and shares(variant.vary, other.exemplar, key):
                    return other
            self._shared.append(variant)
            return None
        if variant.kind is Kind.SOLO:
            return None
        audience = self._audience_of(variant)
        if audience is not None:
            return self._audience_home(variant, audience)
        return self._requests.setdefault(key, variant)

    def _audience_of(self, variant: Variant) -> str | None:
        if variant.kind is Kind.AUDIENCE:
            return variant.audience
        wanted = {watch.audience for watch in variant}
        found = next(iter(wanted)) if len(wanted) == 1 else None
        good = variant.rendering is not None and variant.rendering.status == 200
        return found if good else None

    def _audience_home(self, variant: Variant, audience: str) -> Variant | None:
        home = self._audiences.get(audience)
        if home is None or home is variant:
            variant.kind, variant.audience = Kind.AUDIENCE, audience
            self._audiences[audience] = variant
            return None
        ours, theirs = variant.rendering, home.rendering
        if ours is None or theirs is None or not home.schedule.fresh or not ours.content_as(theirs):
            # Not the same content, or not known to be: it stays apart and is compared after its next look.
            variant.kind = Kind.REQUEST
            return self._requests.setdefault(variant.exemplar, variant)
        return home

    def _merge(self, variant: Variant, home: Variant) -> None:
        waiting = {watch for watch in variant.waiting or () if watch.variant is variant}
        for watch in variant:
            watch.variant = home
            home.members.add(watch)
            if watch in waiting:
                home.await_look(watch)
            else:
                watch.since = 0
                watch.sink.ready(watch)  # what the new home holds may be newer
        variant.members.clear()
        variant.stop()
        self.drop(variant)

    def regroup(self, variant: Variant, groups: frozenset[str]) -> None:
        """``variant`` is in these cache groups now (RFC 9875)."""
        if groups != variant.groups:
            self.hub.leave_groups(variant, variant.groups - groups)
            self.hub.join_groups(variant, groups - variant.groups)
            variant.groups = groups

    def drop(self, variant: Variant) -> None:
        """``variant`` has no members any more; the last one takes the resource with it."""
        if self.variants.pop(variant, False) is False:
            return
        variant.store(None)
        self._forget(variant)
        self.hub.leave_groups(variant, variant.groups)
        if variant.owner:
            self.hub.unclaim(self.path, variant.owner)
        if not self.variants:
            self.hub.drop(self)

    def _variant_for(self, key: RequestKey) -> Variant | None:
        found = self._requests.get(key)
        if found is not None:
            return found
        for variant in self._shared:
            if shares(variant.vary, variant.exemplar, key):
                return variant
        return next((v for v in self._audiences.values() if key in v.members), None)

    def _make(self, key: RequestKey, kind: Kind = Kind.REQUEST) -> Variant:
        self.edition += 1
        variant = Variant(self, key, kind)
        self.variants[variant] = None
        if kind is Kind.REQUEST:
            self._requests[key] = variant
        return variant

    def _forget(self, variant: Variant) -> None:
        for key in (variant.exemplar, *variant.members.requests()):
            if self._requests.get(key) is variant:
                del self._requests[key]
        if variant in self._shared:
            self._shared.remove(variant)
        if variant.audience is not None and self._audiences.get(variant.audience) is variant:
            del self._audiences[variant.audience]
