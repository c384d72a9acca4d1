"""What happens in one run, drawn from its seed: settings, submissions, and what is done to the servers."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from .validators import CALM

TRANSPORTS = ("websocket", "sse", "ndjson", "long-poll", "poll", "get")
"""The client's, and plain GETs."""

FAULTS = (
    "kill-server",
    "kill-group",
    "kill-helper",
    "terminate",
    "stop-server",
    "stop-group",
    "stop-helper",
    "roll",
    "cut",
)
SPAN = 3.0
"""Seconds over which submissions and faults are spread."""

LEASE = 1.0


@dataclass(frozen=True, slots=True)
class Submission:
    """``at`` in seconds from the beginning; ``then``: cancel, delete or nothing, ``after`` seconds later."""

    at: float
    key: str
    collection: str
    steps: int
    pace: float
    transports: tuple[str, ...]
    then: str
    after: float

    @property
    def kind(self) -> str:
        return self.collection.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Step:
    """A fault, ``at`` seconds from the beginning at the earliest; ``down``: how long no server is there."""

    at: float
    what: str
    down: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    engines: tuple[str, ...]
    settings: dict[str, Any]
    submissions: tuple[Submission, ...]
    steps: tuple[Step, ...]


def plan(seed: int, engines: tuple[str, ...] = ("threads", "processes")) -> Plan:
    """The same for the same arguments."""
    random = Random(seed)
    settings = {
        "lease": LEASE,
        "workers": random.choice((2, 3)),
        "stop_grace": 0.5,
        "settle": 0.1,
        "recheck": random.choice((0.5, 5.0)),
        "drain_operations": random.choice((0.3, 20.0)),
    }
    steps = tuple(
        Step(at, random.choice(FAULTS), random.choice((0.0, random.uniform(0.0, 1.0))))
        for at in sorted(random.uniform(0.3, SPAN) for _ in range(random.randint(1, 3)))
    )
    submissions = tuple(_submission(random, number, engines) for number in range(random.randint(6, 10)))
    return Plan(seed, engines, settings, tuple(sorted(submissions, key=lambda it: it.at)), steps)


def _submission(random: Random, number: int, engines: tuple[str, ...]) -> Submission:
    engine = random.choice(engines)
    # Most are of the kinds that suffer from nothing but faults.
    odd = ["fail", "hang", "babble"] + (["leave"] if engine != "threads" else [])
    kind = random.choice(sorted(CALM) if random.random() < 0.75 else odd)
    return Submission(
        at=random.uniform(0.0, SPAN * 0.7),
        key=f"key-{number}-{random.getrandbits(32):08x}",
        collection=f"/{engine}/{random.choice((0, 2, 2))}/{kind}",
        steps=random.randint(1, 12),
        pace=random.uniform(0.005, 0.12),
        transports=tuple(random.sample(TRANSPORTS, random.randint(1, 2))),
        then=random.choice(("cancel", "delete")) if random.random() < 0.2 else "",
        after=random.uniform(0.0, 1.5),
    )
