"""The table that the clients of all languages share says what this client does today."""

from __future__ import annotations

import json

import pytest
from vectors import DIRECTORY, files

from restive.client.news import Kind
from restive.client.policy import TRANSPORTS

FILES = dict(files())
ANEW = "Write them anew by `python tests/client/vectors.py`, and let the other clients do the same."


@pytest.mark.parametrize("name", FILES)
def test_the_table_is_of_today(name):
    assert (DIRECTORY / name).read_text(encoding="utf-8").split("\n") == FILES[name].split("\n"), ANEW


def test_nothing_else_is_in_the_table():
    assert {path.name for path in DIRECTORY.iterdir()} == set(FILES)
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < 400_000


def test_the_worlds_have_seen_everything():
    """Each method, action, transport and kind of failure; and errors, and random numbers."""
    calls = [
        call for name in ("scenes", "chaos", "weathers") for world in _worlds(name) for call in world["calls"]
    ]
    actions = [action for call in calls if isinstance(call[4], list) for action in call[4]]
    assert {call[0] for call in calls} == {
        *("watch", "unwatch", "sharesSocket", "reopenSocket", "tick"),
        *("opened", "news", "event", "answer", "alive", "failed"),
    }
    assert {action["do"] for action in actions} == {
        *("ask", "stop", "open-socket", "send", "close-socket", "show", "finish")
    }
    assert {action["transport"] for action in actions if action["do"] == "ask"} == {*TRANSPORTS} - {
        "websocket"
    }
    assert any(len(action["targets"]) > 1 for action in actions if action["do"] == "ask")
    failures = [call[1][1] for call in calls if call[0] == "failed"]
    assert {failure["kind"] for failure in failures} >= {
        kind.name.lower() for kind in Kind if kind is not Kind.SLOW
    }
    ends = [action["error"] for action in actions if action["do"] == "finish"]
    assert {end and end["code"] for end in ends} == {None, "ended", "unreachable"}
    assert sum(len(call[3]) for call in calls) > 500


def _worlds(name: str):
    return json.loads(FILES[f"{name}.json"])
