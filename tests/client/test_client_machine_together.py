"""Several watches on one request: in all weathers the last state arrives, none twice, with few requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weather import World

from restive.client.attempt import Ask, Finish, Show, Stop, Target, Want
from restive.client.machine import Machine
from restive.client.news import Ended, Failure, Kind, Snapshot, Unchanged
from restive.client.policy import AUTO, TRANSPORTS, Policy
from restive.client.state import State
from restive.errors import WatchEnded
from restive.wire.messages import CurrentEvent, EndEvent, ErrorEvent, StateEvent

POLICY = Policy()
TOGETHER = ["sse", "ndjson", "long-poll"]
WITHOUT_SOCKET = ("sse", "long-poll", "poll")
TARGETS = ["/a", "/b", "/c", "/d"]
MODES = st.sampled_from(["ok", "ok", "refuse", "busy", "drop", "silent", "unreachable", "short"])
WEATHERS = st.fixed_dictionaries(dict.fromkeys(TRANSPORTS, MODES))
RUNGS = st.sampled_from([WITHOUT_SOCKET, AUTO, ("sse",), ("long-poll",), ("ndjson",), ("sse", "long-poll")])
STEP = st.one_of(
    st.tuples(st.just("run"), st.sampled_from([0.01, 0.05, 0.5, 3.0, 20.0, 90.0])),
    st.tuples(st.just("burst"), st.integers(1, 12)),
    st.tuples(st.just("weather"), WEATHERS),
    st.tuples(st.just("weather"), st.builds(dict.fromkeys, st.just(TRANSPORTS), MODES)),
    st.tuples(st.just("watch"), st.tuples(st.sampled_from(TARGETS), RUNGS)),
    st.tuples(st.just("unwatch"), st.integers(0, 30)),
    st.tuples(st.just("split"), st.booleans()),
)
STEPS = st.lists(STEP, min_size=3, max_size=30)
WORLDS = st.builds(
    World,
    st.integers(0, 2**32),
    st.sampled_from([replace(POLICY, connect_within=None, better_after=after) for after in (1.0, 5.0, 60.0)]),
    latency=st.sampled_from([0.01, 0.3, 2.0]),
    announce=st.sampled_from([0.0, 0.3, 1.0]),
    slow=st.sampled_from([{}, {}, {"/b": 3.0}, {"/b": 1.0, "/c": 8.0}]),
    refused=st.sampled_from([set(), set(), {"/c"}]),
)


class Watching:
    """A world with watches of several resources."""

    def __init__(self, world: World, rungs: tuple[str, ...]) -> None:
        self.world = world
        self.gone: set[int] = set()
        for target in TARGETS[:3]:
            self.watch(target, rungs)

    def watch(self, target: str, rungs: tuple[str, ...]) -> None:
        self.world.watch(len(self.world.shown), rungs, target=target)

    def play(self, steps: list[tuple[str, object]]) -> None:
        world = self.world
        for verb, what in steps:
            if verb == "run":
                world.run(what)
            elif verb == "burst":
                for _ in range(what):
                    world.change(world.random.choice(sorted(world.versions)))
                    world.run(world.random.random() * world.latency)
            elif verb == "weather":
                world.turn(what)
            elif verb == "watch":
                self.watch(*what)
            elif verb == "unwatch" and what in world.shown:
                self.gone.add(what)
                world.unwatch(what)
            elif verb == "split":
                world.together = what

    def left(self) -> dict[int, list[int]]:
        return {key: seen for key, seen in self.world.shown.items() if key not in self.gone}


@settings(max_examples=300, deadline=None)
@given(WORLDS, RUNGS, STEPS)
def test_after_any_weather_everyone_has_the_last_state_and_saw_none_twice(world, rungs, steps):
    watching = Watching(world, rungs)
    watching.play(steps)
    world.turn({})
    world.together = True
    world.run(200)
    for key, seen in watching.left().items():
        assert seen[-1:] == [world.versions[world.watched[key]]], key
    for seen in world.shown.values():
        assert seen == sorted(set(seen))
    assert not world.finished


@settings(max_examples=150, deadline=None)
@given(WORLDS, RUNGS, STEPS)
def test_after_any_weather_a_final_state_ends_every_watch(world, rungs, steps):
    watching = Watching(world, rungs)
    watching.play(steps)
    world.end()
    world.turn({})
    world.run(300)
    for key, seen in watching.left().items():
        assert seen[-1:] == [world.versions[world.watched[key]]]
    assert world.finished == dict.fromkeys(watching.left())
    world.run(10)
    assert world.machine.deadline() == inf, "nothing is left to do"
    assert not world._lines


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), WEATHERS, st.sampled_from([("sse",), ("long-poll",), ("sse", "long-poll")]))
def test_ten_watches_in_one_weather_make_no_more_requests_than_one(seed, weather, rungs):
    """In ten minutes. A connection that is cut again and again is asked for so often, by all at once."""
    world = World(seed, replace(POLICY, connect_within=None))
    for n in range(10):
        world.watch(n, rungs, target=f"/{n}")
    world.turn(weather)
    world.run(600)
    live = any(weather[rung] == "short" for rung in rungs)
    shared = [transport for _, transport in world.asked if transport != "poll"]
    assert len(shared) <= (450 if live else 250)


# -- how many requests --------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TOGETHER)
def test_a_lone_watch_is_asked_for_at_its_own_uri(transport):
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/a", (transport,), etag='"t"'), 0.0)
    assert machine.tick(0.0) == [Ask(1, transport, (Target("/a", etag='"t"'),))]


@pytest.mark.parametrize("transport", TOGETHER)
def test_watches_that_begin_in_one_turn_begin_with_one_request(transport):
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/a", (transport,), etag='"t"'), 0.0)
    machine.watch(1, Want("/b", (transport,), (("authorization", "Bearer b"),)), 0.0)
    assert machine.deadline() == 0.0
    targets = (Target("/a", etag='"t"'), Target("/b", (("authorization", "Bearer b"),)))
    assert machine.tick(0.0) == [Ask(1, transport, targets)]


def test_who_joins_or_leaves_replaces_the_request_after_a_moment():
    """All that happens in this moment is in the same one, which asks by the tags of now."""
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/a", ("sse",)), 0.0)
    machine.tick(0.0)
    machine.news(1, Snapshot(State("A", '"a"')), 1.0)
    assert machine.watch(1, Want("/b", ("sse",)), 2.0) == []
    assert machine.watch(2, Want("/c", ("sse",)), 2.01) == []
    assert machine.unwatch(1, 2.02) == []
    due = machine.deadline()
    assert due == 2.0 + POLICY.gather
    assert machine.tick(due) == [Stop(1), Ask(2, "sse", (Target("/a", etag='"a"'), Target("/c")))]
    assert machine.news(1, Snapshot(State("late", '"z"')), due) == []
    machine.event(2, CurrentEvent("/a", '"a"'), 3.0)
    assert machine.unwatch(2, 9.0) == []
    assert machine.tick(9.0 + POLICY.gather) == [Stop(2), Ask(3, "sse", (Target("/a", etag='"a"'),))]
    assert machine.unwatch(0, 10.0) == [Stop(3)]
    assert machine.tick(99.0) == []
    assert machine.deadline() == inf


def test_what_the_server_has_ended_needs_no_new_request():
    machine = Machine(POLICY, lambda: 0.5)
    for key, target in enumerate(("/a", "/b", "/c")):
        machine.watch(key, Want(target, ("sse",)), 0.0)
    machine.tick(0.0)
    ended = machine.event(1, EndEvent("/a", {"status": 404, "title": "Gone"}), 1.0)
    assert [type(action) for action in ended] == [Finish]
    assert isinstance(ended[0].error, WatchEnded)
    assert machine.event(1, StateEvent("/b", '"b"', 1), 1.0) == [Show(1, State(1, '"b"'))]
    assert machine.deadline() > 10
    machine.event(1, EndEvent("/b", {"status": 200}), 2.0)
    machine.event(1, StateEvent("/c", '"c"', 1), 2.0)
    last = machine.event(1, EndEvent("/c", {"status": 200}), 2.0)
    assert last == [Stop(1), Finish(2, None)]
    assert machine.tick(99.0) == []
    assert machine.deadline() == inf


def test_steady_coming_and_going_is_gathered_longer_and_longer():
    """Someone scrolls through a list for a minute: a row comes every 20 ms, and another goes."""
    world = World(1, POLICY, latency=0.05)
    world.watch(0, ("sse",))
    for n in range(1, 3000):
        world.watch(n, ("sse",), target=f"/{n}")
        if n > 20:
            world.unwatch(n - 20)
        world.run(0.02)
    assert len(world.asked) <= 60
    world.run(3)
    assert all(world.shown[n] == [0] for n in range(2981, 3000))


@pytest.mark.parametrize("transport", TOGETHER)
def test_a_loss_is_one_pause_and_one_request_for_all(transport):
    world = World(8, POLICY)
    for n in range(100):
        world.watch(n, (transport,), target=f"/{n}")
    world.run(20)
    asked = len(world.asked)
    assert asked <= 2
    world.turn({transport: "drop"})
    world.turn({})
    world.run(5)
    assert len(world.asked) == asked + 1
    for n in range(100):
        world.change(f"/{n}")
    world.run(5)
    assert all(seen == [0, 1] for seen in world.shown.values())


def test_all_fall_to_the_next_transport_together_and_rise_together():
    """Two requests for each of them on the way, not one for each watch."""
    world = World(9, POLICY, weather={"websocket": "refuse", "sse": "silent"})
    for n in range(50):
        world.watch(n, AUTO, target=f"/{n}")
    world.run(30)
    assert all(seen == [0] for seen in world.shown.values())
    assert Counter(transport for _, transport in world.asked)["long-poll"] <= 3
    world.turn({"websocket": "refuse"})
    asked = len(world.asked)
    world.run(80)
    after = Counter(transport for _, transport in world.asked[asked:])
    assert after["sse"] <= 3
    assert after["long-poll"] <= 5
    assert {line.transport for line in world._lines.values()} == {"sse"}
    world.turn({})
    world.run(300)
    assert {line.transport for line in world._lines.values()} == {"websocket"}


def test_more_than_a_server_takes_share_two_requests():
    world = World(2, POLICY)
    for n in range(250):
        world.watch(n, ("sse",), target=f"/{n}")
    world.run(5)
    assert sorted(len(targets) for targets in world.targets) == [50, 200]


# -- who cannot share ---------------------------------------------------------------------------


def test_headers_that_no_frame_takes_have_a_request_of_their_own():
    world = World(3, POLICY)
    machine = world.machine
    machine.watch(0, Want("/a", ("sse",)), 0.0)
    assert machine.watch(1, Want("/b", ("sse",), (("x-tenant", "7"),)), 0.0) == [
        Ask(1, "sse", (Target("/b", (("x-tenant", "7"),)),))
    ]
    assert machine.tick(0.0) == [Ask(2, "sse", (Target("/a"),))]


def test_the_same_target_with_other_credentials_is_asked_for_apart():
    machine = Machine(POLICY, lambda: 0.5)
    for key, token in enumerate(("a", "b")):
        machine.watch(key, Want("/r", ("sse",), (("authorization", token),)), 0.0)
    asked = machine.tick(0.0)
    assert [[target.headers[0][1] for target in ask.targets] for ask in asked] == [["a"], ["b"]]


def test_two_watches_of_one_target_are_one_on_the_request():
    """Where they have different states it is asked for without a tag; neither is shown what it has."""
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/r", ("long-poll",), etag='"a"'), 0.0)
    machine.watch(1, Want("/r", ("long-poll",), etag='"b"'), 0.0)
    assert machine.tick(0.0) == [Ask(1, "long-poll", (Target("/r"),))]
    actions = machine.news(1, Snapshot(State("B", '"b"')), 1.0)
    assert [action.transport for action in actions if isinstance(action, Ask)] == ["poll"]
    assert machine.news(2, Snapshot(State("B", '"b"')), 1.0) == [Show(0, State("B", '"b"', fetch=True))]
    assert machine.tick(1.0) == [Ask(3, "long-poll", (Target("/r", etag='"b"'),))]


def test_what_is_refused_beside_others_is_asked_for_at_its_own_uri():
    for transport in TOGETHER:
        world = World(4, POLICY, refused={"/odd"})
        for n, target in enumerate(("/a", "/odd", "/b")):
            world.watch(n, (transport,), target=target)
        world.run(10)
        assert all(seen == [0] for seen in world.shown.values())
        alone = [targets for targets in world.targets if len(targets) == 1]
        assert {targets[0].uri for targets in alone} == {"/odd"}


@pytest.mark.parametrize("transport", TOGETHER)
def test_a_server_that_takes_no_request_for_many_is_asked_one_by_one(transport):
    """And remembered: whoever comes later asks alone at once, until it is tried again."""
    world = World(5, POLICY, together=False)
    for n in range(5):
        world.watch(n, (transport,), target=f"/{n}")
    world.run(10)
    assert all(seen == [0] for seen in world.shown.values())
    assert [len(targets) for targets in world.targets][:6] == [5, 1, 1, 1, 1, 1]
    world.watch(5, (transport,), target="/5")
    world.run(2)
    assert world.shown[5] == [0]
    assert sum(len(targets) > 1 for targets in world.targets) == 1


# -- long polls ---------------------------------------------------------------------------------


def polls(world: World) -> list[int]:
    """The sizes of the long polls under way."""
    return [len(line.legs) for line in world._lines.values() if line.transport == "long-poll"]


def test_a_long_poll_for_many_is_one_at_a_time():
    world = World(6, POLICY, latency=0.05)
    for n in range(10):
        world.watch(n, ("long-poll",), target=f"/{n}")
    for n in range(10):
        world.run(1)
        assert polls(world) == [10]
        world.change(f"/{n}")
    world.run(1)
    assert [seen[-1] for seen in world.shown.values()] == [1] * 10
    assert len(world.asked) <= 12
    world.run(120)
    assert len(world.asked) <= 17, "nothing changes: every half minute one, and no GET beside it"


def test_a_resource_that_is_slow_beside_others_gets_a_request_of_its_own():
    """Others change so often that it is never waited for."""
    world = World(7, POLICY, latency=0.05, slow={"/slow": 4.0})
    world.watch(0, ("long-poll",), target="/busy")
    world.watch(1, ("long-poll",), target="/slow")
    for _ in range(40):
        world.change("/busy")
        world.run(0.5)
    assert world.shown[1] == [0]
    assert world.shown[0][-1] == 40
    assert sorted(polls(world)) == [1, 1]


def test_an_answer_that_leaves_one_out_says_nothing_of_it():
    machine = Machine(POLICY, lambda: 0.5)
    for key, target in enumerate(("/a", "/b")):
        machine.watch(key, Want(target, ("long-poll",)), 0.0)
    machine.tick(0.0)
    assert machine.answer(1, [StateEvent("/a", '"a"', 1)], 1.0) == [Show(0, State(1, '"a"'))]
    assert machine.tick(1.0) == [Ask(2, "long-poll", (Target("/a", etag='"a"'), Target("/b")))]
    assert machine.news(2, Unchanged(), 31.0) == []


def test_late_reports_change_nothing():
    machine = Machine(POLICY, lambda: 0.5)
    for key, target in enumerate(("/a", "/b")):
        machine.watch(key, Want(target, ("sse",)), 0.0)
    machine.tick(0.0)
    state = StateEvent("/a", '"a"', 1)
    for report in (
        lambda: machine.event(99, state, 1.0),
        lambda: machine.answer(99, [state], 1.0),
        lambda: machine.event(1, StateEvent("/none", '"a"', 1), 1.0),
        lambda: machine.event(1, ErrorEvent({"status": 400}), 1.0),
        lambda: machine.failed(99, Failure(Kind.DROPPED), 1.0),
        lambda: machine.news(99, Ended(None), 1.0),
    ):
        assert report() == []
    assert machine.event(1, state, 1.0) == [Show(0, State(1, '"a"'))]
