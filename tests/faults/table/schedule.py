"""What happens in one schedule, drawn from its seed: who writes, watches, appends, reads and submits, and
which faults strike. Schedules whose seeds are in one block share one fleet, which is drawn from the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from faults.plans import Submission

BLOCK = 25
"""Seeds that share one fleet."""

SPAN = 2.5
"""Seconds over which clients come and faults strike."""

LONGEST = 4.5
"""Seconds that one fault lasts, at most: longer than a backend's adapter waits."""

WAYS = (
    "websocket",
    "websocket-patch",
    "sse-query",
    "sse-header",
    "ndjson-query",
    "multi-sse",
    "multi-ndjson",
    "long-poll",
    "poll",
)
READINGS = ("catch-up", "long-poll", "sse", "websocket")

NODE_FAULTS = ("kill-node", "kill-group", "kill-worker", "term-node", "stop-node", "vanish")
FAULTS: dict[str, tuple[str, ...]] = {
    "memory": NODE_FAULTS,
    "sqlite": (*NODE_FAULTS, "full-disk"),
    **dict.fromkeys(
        ("redis", "nats", "postgres"),
        (*NODE_FAULTS, "kill-server", "stop-server", "cut-net", "hold-net", "hold-replies", "slow-net"),
    ),
}
"""The faults of each backend; a wipe is drawn apart."""

WIPES = 0.15
"""The share of schedules in which the backend loses its data."""

KINDS = ("count", "collect", "spread", "wait")
RETRIES = 2
"""Of each operation."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A fleet. ``engines`` are those of operations."""

    nodes: int
    workers: int
    engines: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Writer:
    """Puts ``versions`` of one resource, one after the other, ``pace`` seconds apart, from ``at`` on.

    With a ``node`` it begins there: that one is being harmed just then, and may know alone of the write.
    """

    resource: str
    versions: int
    pace: float
    at: float = 0.0
    node: int | None = None


@dataclass(frozen=True, slots=True)
class Watching:
    """Watches from ``at`` on, over one way."""

    resource: str
    way: str
    at: float


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends ``batches`` of up to three items; with ``close`` the last one closes the stream."""

    name: str
    stream: str
    batches: tuple[int, ...]
    pace: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads a stream from its start, from ``at`` on."""

    stream: str
    way: str
    at: float


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault: whom it hits, for how many seconds, and whether the data is gone after it."""

    at: float
    what: str
    node: int
    lasts: float
    wipes: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    writers: tuple[Writer, ...]
    watchers: tuple[Watching, ...]
    appenders: tuple[Appender, ...]
    readings: tuple[Reading, ...]
    submissions: tuple[Submission, ...]
    ghosts: int
    """Clients that vanish: half of them are cut off, half are deaf from the beginning."""
    strikes: tuple[Strike, ...]

    @property
    def wiped(self) -> bool:
        return any(strike.wipes for strike in self.strikes)


def shape(backend: str, seed: int) -> Shape:
    """The fleet of the block that a seed is in."""
    random = Random(f"fleet {backend} {seed // BLOCK}")
    alone = backend == "memory"
    settings = {
        "lease": 1.0,
        "workers": 2,
        "stop_grace": 0.5,
        "settle": random.choice((0.1, 1.0)),
        "recheck": random.choice((5.0, 60.0)),
        "heartbeat": 0.4,
        "drain": 0.3,
        "drain_operations": random.choice((0.2, 3.0)),
        "retention": 60.0,
        "max_connections": 1000,
    }
    engines = random.choice((("threads",), ("threads",), ("threads", "processes")))
    return Shape(
        1 if alone else random.choice((2, 3)), 1 if alone else random.choice((1, 1, 2)), engines, settings
    )


def schedule(backend: str, seed: int) -> Schedule:
    """The same for the same arguments."""
    fleet, random = shape(backend, seed), Random(f"schedule {backend} {seed}")
    resources = [f"/things/{seed}-{number}" for number in range(random.randint(1, 3))]
    logs = [f"/logs/{seed}-{number}" for number in range(random.randint(1, 2))]
    writers = tuple(
        Writer(each, random.randint(5, 30), random.choice((0.0, 0.03, 0.1))) for each in resources
    )
    strikes = _strikes(random, backend, fleet)
    late = tuple(
        Writer(f"/things/{seed}-late{number}", 1, 0.0, strike.at + random.uniform(0.0, 0.3), strike.node)
        for number, strike in enumerate(strikes)
    )
    watchers = tuple(
        Watching(random.choice(resources), random.choice(WAYS), random.uniform(0.0, SPAN * 0.8))
        for _ in range(random.randint(4, 8))
    )
    watchers += tuple(Watching(each.resource, random.choice(WAYS), 0.0) for each in late)
    appenders = tuple(
        Appender(f"w{seed}-{stream[-1]}-{number}", stream, _batches(random), random.choice((0.0, 0.02, 0.1)))
        for stream in logs
        for number in range(random.randint(1, 3))
    )
    readings = tuple(
        Reading(random.choice(logs), random.choice(READINGS), random.uniform(0.0, SPAN))
        for _ in range(random.randint(2, 5))
    )
    submissions = tuple(_submission(random, number, fleet) for number in range(random.randint(0, 3)))
    ghosts = random.choice((2, 6)) if any(strike.what == "vanish" for strike in strikes) else 0
    return Schedule(
        seed,
        writers + late,
        watchers,
        appenders,
        readings,
        submissions,
        ghosts,
        strikes,
    )


def _batches(random: Random) -> tuple[int, ...]:
    return tuple(random.choice((1, 1, 1, 2, 3)) for _ in range(random.randint(3, 25)))


def _strikes(random: Random, backend: str, fleet: Shape) -> tuple[Strike, ...]:
    kinds = [each for each in FAULTS[backend] if each != "kill-worker" or fleet.workers > 1]
    strikes = [
        Strike(
            random.uniform(0.2, SPAN),
            random.choice(kinds),
            random.randrange(fleet.nodes),
            random.choice((0.05, 0.4, 0.4, random.uniform(0.5, 2.0), random.uniform(2.5, LONGEST))),
        )
        for _ in range(random.randint(1, 3))
    ]
    if random.random() < WIPES and backend != "memory":
        wipe = Strike(
            random.uniform(0.5, SPAN), "wipe", random.randrange(fleet.nodes), random.uniform(0.0, 1.0), True
        )
        strikes.append(wipe)
    return tuple(sorted(strikes, key=lambda it: it.at))


def _submission(random: Random, number: int, fleet: Shape) -> Submission:
    return Submission(
        at=random.uniform(0.0, SPAN * 0.8),
        key=f"key-{number}-{random.getrandbits(32):08x}",
        collection=f"/{random.choice(fleet.engines)}/{RETRIES}/{random.choice(KINDS)}",
        steps=random.randint(1, 8),
        pace=random.uniform(0.005, 0.1),
        transports=(random.choice(("websocket", "sse", "ndjson", "long-poll", "poll", "get")),),
        then=random.choice(("cancel", "delete")) if random.random() < 0.2 else "",
        after=random.uniform(0.0, 1.0),
    )
