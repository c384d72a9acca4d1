"""Streams on real backends, and the engine that a test is told to use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ENGINES = os.environ.get("STREAMS_ENGINES", "memory sqlite").split()
"""Also ``redis``, ``nats`` and ``postgres``: the suite then runs on these, too."""

NewUrl = Callable[[], str]


@pytest.fixture(params=ENGINES)
def backend_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a backend of that engine."""
    if request.param == "memory":
        yield "memory:"
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/streams.db"
    else:
        yield request.getfixturevalue(f"{request.param}_url")
