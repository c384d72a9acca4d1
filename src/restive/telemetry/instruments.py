"""Counters, histograms and gauges: plain numbers in this process, without a dependency or a lock.

Counting is an addition to a slot. Under the GIL no addition is lost; without it a metric may miss one, and
nothing else depends on it. Gauges are not kept but read from their sources when somebody asks, so they
cannot drift.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from weakref import WeakSet

__all__ = [
    "Count",
    "Counter",
    "Gauge",
    "Histogram",
    "Labels",
    "Metric",
    "Reading",
    "Source",
    "Spread",
    "sources",
]

Labels = tuple[str, ...]


class Metric:
    """What all kinds have: a name, one line of explanation, and the names of its labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Count:
    """One number of a counter: add to ``value``, and never take away."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counter(Metric):
    """What only grows. Its name is exported with ``_total`` behind it."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        Metric.__init__(self, name, text, labels)
        self.counts: dict[Labels, Count] = {} if labels else {(): Count()}

    def of(self, *labels: str) -> Count:
        """The number for these values of the labels; hold on to it where it is needed often."""
        found = self.counts.get(labels)
        return self.counts.setdefault(labels, Count()) if found is None else found


class Spread:
    """The observations of a histogram for certain labels."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket by itself; the last one is of what is above all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Histogram(Metric):
    """How large something was, and how often; ``bounds`` are the upper ends of its buckets, ascending."""

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        Metric.__init__(self, name, text, labels)
        self.bounds = tuple(bounds)
        self.spreads: dict[Labels, Spread] = {} if labels else {(): Spread(self.bounds)}

    def of(self, *labels: str) -> Spread:
        """The observations for these values of the labels."""
        found = self.spreads.get(labels)
        return self.spreads.setdefault(labels, Spread(self.bounds)) if found is None else found


class Gauge(Metric):
    """What goes up and down: asked of all ``sources``; ``combine`` makes one number of theirs."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        combine: Callable[[float, float], float] = operator.add,
    ) -> None:
        Metric.__init__(self, name, text, labels)
        self.combine = combine


Reading = tuple[Gauge, Labels, float]


class Source(Protocol):
    """Whoever knows the present value of gauges. Registered in ``sources`` for as long as it lives."""

    def readings(self) -> Iterable[Reading]:
        """The values now; called on any thread."""
        ...


sources: WeakSet[Source] = WeakSet()
