"""The machine in virtual time, in any weather: the last state always arrives, none twice, and no storm."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from weather import World

from restive.client.attempt import Ask, Finish, OpenSocket, SendFrame, Show, Target, Want
from restive.client.machine import Machine
from restive.client.news import Announced, Failure, Kind, Snapshot, Unchanged
from restive.client.policy import AUTO, TRANSPORTS, Policy
from restive.client.state import State
from restive.errors import Unreachable, WatchEnded
from restive.wire.messages import CurrentEvent, ErrorEvent, StateEvent, watch_frame

POLICY = Policy()
MODES = st.sampled_from(["ok", "ok", "refuse", "busy", "drop", "silent", "unreachable", "short"])
WEATHERS = st.fixed_dictionaries(dict.fromkeys(TRANSPORTS, MODES))
RUNGS = st.sampled_from([AUTO, AUTO, *((name,) for name in TRANSPORTS)])
STEP = st.one_of(
    st.tuples(st.just("run"), st.sampled_from([0.05, 0.5, 3.0, 20.0, 90.0])),
    st.tuples(st.just("burst"), st.integers(1, 12)),
    st.tuples(st.just("burst"), st.integers(1, 12)),
    st.tuples(st.just("weather"), WEATHERS),
    st.tuples(st.just("weather"), st.builds(dict.fromkeys, st.just(TRANSPORTS), MODES)),
    st.tuples(st.just("watch"), RUNGS),
    st.tuples(st.just("reopen"), st.just(0)),
)
STEPS = st.lists(STEP, min_size=3, max_size=30)
WORLDS = st.builds(
    World,
    st.integers(0, 2**32),
    st.sampled_from([replace(POLICY, connect_within=None, better_after=after) for after in (1.0, 5.0, 60.0)]),
    latency=st.sampled_from([0.01, 0.3, 2.0]),
    announce=st.sampled_from([0.0, 0.3, 1.0]),
)


def play(world: World, steps: list[tuple[str, object]]) -> None:
    for verb, what in steps:
        if verb == "run":
            world.run(what)
        elif verb == "burst":
            for _ in range(what):
                world.change()
                world.run(world.random.random() * world.latency)
        elif verb == "weather":
            world.turn(what)
        elif verb == "watch":
            world.watch(len(world.shown), what)
        else:
            world._do(world.machine.reopen_socket(world.now))


@settings(max_examples=200, deadline=None)
@given(WORLDS, RUNGS, STEPS)
def test_after_any_weather_everyone_has_the_last_state_and_saw_none_twice(world, rungs, steps):
    """Level-triggered: states may be skipped, none comes twice or late, and the last one arrives."""
    world.watch(0, rungs)
    play(world, steps)
    world.turn({})
    world.run(150)
    for seen in world.shown.values():
        assert seen[-1:] == [world.version]
        assert seen == sorted(set(seen))
    assert not world.finished


@settings(max_examples=100, deadline=None)
@example(World(0, replace(POLICY, connect_within=None)), ("long-poll",), [("run", 90.0)])
@given(WORLDS, RUNGS, STEPS)
def test_after_any_weather_a_final_state_ends_every_watch(world, rungs, steps):
    world.watch(0, rungs)
    play(world, steps)
    world.end()
    world.turn({})
    world.run(250)
    assert {key: seen[-1] for key, seen in world.shown.items()} == dict.fromkeys(world.shown, world.version)
    assert world.finished == dict.fromkeys(world.shown)
    world.run(10)
    assert world.machine.deadline() == inf, "nothing is left to do"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), WEATHERS, RUNGS)
def test_no_weather_makes_a_storm(seed, weather, rungs):
    """In ten minutes of one weather: some dozens of attempts, where a poll every 5 s is 120."""
    world = World(seed, replace(POLICY, connect_within=None))
    world.watch(0, rungs)
    world.turn(weather)
    world.run(600)
    live = any(weather[rung] == "short" for rung in rungs)
    assert len(world.asked) <= (450 if live else 250)


def test_a_known_tag_gives_nothing_until_something_changes():
    for transport in TRANSPORTS:
        world = World(1, POLICY)
        world.watch(0, (transport,), etag='"0"')
        world.run(100)
        assert world.shown[0] == []
        world.change()
        world.run(10)
        assert world.shown[0] == [1]


@pytest.mark.parametrize("mode", ["refuse", "busy", "drop", "silent"])
def test_a_rung_that_fails_is_blamed_once_another_delivers(mode):
    """And tried again later, each time later than before, while the other goes on."""
    world = World(3, POLICY, weather={"websocket": mode})
    world.watch(0, AUTO)
    world.run(20)
    assert [transport for _, transport in world.asked] == ["websocket", "sse"]
    world.run(3600)
    tries = [when for when, transport in world.asked if transport == "websocket"]
    gaps = [later - before for before, later in pairwise(tries)]
    assert 4 <= len(tries) <= 8
    assert gaps[0] > 45
    assert gaps[-1] > 4 * gaps[0]
    world.change()
    world.run(1)
    assert world.shown[0] == [0, 1]


def test_a_server_that_is_down_is_no_reason_to_leave_a_transport():
    """After a restart the watch is back on its WebSocket, without having asked anything else."""
    world = World(5, POLICY)
    world.watch(0, AUTO)
    world.run(60)
    world.turn(dict.fromkeys(TRANSPORTS, "unreachable"))
    world.run(30)
    world.change()
    world.turn({})
    world.run(31)
    assert world.shown[0] == [0, 1]
    assert {transport for _, transport in world.asked} == {"websocket"}


def test_a_bad_gateway_for_a_while_blames_nothing():
    world = World(6, POLICY)
    world.watch(0, AUTO)
    world.run(10)
    world.turn(dict.fromkeys(TRANSPORTS, "busy"))
    world.run(20)
    world.turn({})
    world.run(40)
    assert [line.transport for line in world._lines.values()] == ["websocket"]


def test_a_better_transport_that_starts_late_shows_nothing_old():
    """Both are told the same changes, at their own speed, while the one takes over from the other."""
    for seed in range(60):
        policy = replace(POLICY, better_after=3.0)
        world = World(seed, policy, latency=2.0, weather={"websocket": "refuse"})
        world.watch(0, AUTO)
        world.run(2)
        world.turn({})
        for _ in range(40):
            world.change()
            world.run(0.2)
        world.run(20)
        assert world.shown[0] == sorted(set(world.shown[0]))
        assert world.shown[0][-1] == world.version
        assert not [line for line in world._lines.values() if line.transport != "websocket"]


def test_the_end_waits_for_the_state_that_was_announced():
    """The stream may be gone by then: it is not opened again."""
    world = World(2, POLICY, latency=2.0, announce=1.0)
    world.watch(0, ("sse",))
    world.run(10)
    world.change()
    world.end()
    world.turn({"sse": "drop"})
    world.run(30)
    assert world.shown[0] == [0, 1]
    assert world.finished == {0: None}
    assert [transport for _, transport in world.asked].count("sse") == 1


def test_a_long_poll_asks_again_whether_a_state_has_become_final():
    """By a GET after a wait in vain, and not by more of them where a server hardly waits."""
    machine = Machine(POLICY, lambda: 0.5)
    asked = machine.watch(0, Want("/r", ("long-poll",), etag='"t"'), 0.0) + machine.tick(0.0)
    gets = []
    for second in range(61):
        for ask in asked:
            gets += [second] if ask.transport == "poll" else []
            asked.extend(machine.news(ask.number, Unchanged('"t"'), float(second)))
        asked = machine.tick(second + 1.0)
    assert gets == [0, 16, 32, 48]


def test_a_new_watch_begins_where_the_origin_works():
    world = World(7, POLICY, weather={"websocket": "silent", "sse": "silent"})
    world.watch(0, AUTO)
    world.run(40)
    assert world.shown[0] == [0]
    asked = len(world.asked)
    world.watch(1, AUTO)
    world.run(1)
    assert world.shown[1] == [0]
    assert {transport for _, transport in world.asked[asked:]} == {"long-poll"}


def test_many_watches_open_one_socket_and_one_more_after_a_loss():
    world = World(8, POLICY)
    for key in range(100):
        world.watch(key, AUTO)
    world.run(20)
    world.turn({"websocket": "drop"})
    world.turn({})
    world.run(60)
    world.change()
    world.run(5)
    assert all(seen == [0, 1] for seen in world.shown.values())
    assert [transport for _, transport in world.asked] == ["websocket"] * 2


def test_clients_do_not_come_back_all_at_once():
    """Full jitter: the first return of a thousand event streams is spread over the whole pause."""
    tenths = [0] * 7
    for seed in range(1000):
        world = World(seed, POLICY)
        world.watch(0, ("sse",))
        world.run(20)
        world.turn({"sse": "drop"})
        world.turn({})
        began = world.now
        world.run(5)
        tenths[min(6, int((world.asked[1][0] - began) * 10))] += 1
    assert max(tenths) < 350


def test_nothing_ever_delivered_gives_up_in_time():
    world = World(10, replace(POLICY, connect_within=60), weather=dict.fromkeys(TRANSPORTS, "unreachable"))
    world.watch(0, AUTO)
    world.run(120)
    assert isinstance(world.finished[0], Unreachable)
    assert world.machine.deadline() == inf


def test_what_another_watch_was_told_is_checked_against_what_this_one_has():
    """A, B and A again: `current` for A, said to a watch that joins, tells one who has B to look."""
    machine = Machine(POLICY, lambda: 0.5)
    opened = machine.watch(0, Want("/r", AUTO), 0.0)
    assert opened == [OpenSocket(1)]
    machine.opened(1, 0.0)
    machine.event(1, StateEvent("/r", '"a"', "A"), 0.0)
    machine.event(1, StateEvent("/r", '"b"', "B"), 0.0)
    assert machine.watch(1, Want("/r", AUTO, etag='"a"'), 1.0) == [SendFrame(1, watch_frame("/r", '"a"'))]
    asked = machine.event(1, CurrentEvent("/r", '"a"'), 1.0)
    assert asked == [Ask(2, "poll", (Target("/r", etag='"b"'),))]
    assert machine.news(2, Snapshot(State("A", '"a"')), 1.0) == [Show(0, State("A", '"a"', fetch=True))]


def test_a_coarse_tag_hides_no_state():
    """The same tag with other content is another state, and what is announced so is fetched without it."""
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/r", ("sse",)), 0.0)
    machine.tick(0.0)
    assert machine.news(1, Snapshot(State(1, '"t"')), 0.0) == [Show(0, State(1, '"t"'))]
    assert machine.news(1, Snapshot(State(1, 'W/"t"')), 0.0) == []
    assert machine.news(1, Snapshot(State(True, '"t"')), 0.0) == [Show(0, State(True, '"t"'))]
    assert machine.news(1, Announced('"t"'), 0.0) == [Ask(2, "poll", (Target("/r"),))]


def test_a_watch_that_a_socket_refuses_goes_elsewhere_and_others_stay():
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/ok", AUTO), 0.0)
    machine.watch(1, Want("/odd", AUTO), 0.0)
    machine.opened(1, 0.0)
    machine.event(1, StateEvent("/ok", '"a"', 1), 0.0)
    machine.event(1, ErrorEvent({"status": 400, "title": "Odd"}, on="/odd"), 0.0)
    assert machine.tick(1.0) == [Ask(2, "sse", (Target("/odd"),))]
    machine.news(2, Snapshot(State(2, '"b"')), 1.0)
    assert machine.tick(4000.0) != []  # the event stream has been silent for too long
    assert machine.watch(2, Want("/new", AUTO), 4001.0)[0].__class__ is SendFrame


def test_a_watch_that_only_a_socket_may_carry_ends_where_it_refuses():
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/odd", ("websocket",)), 0.0)
    machine.opened(1, 0.0)
    actions = machine.event(1, ErrorEvent({"status": 400, "title": "Odd"}, on="/odd"), 0.0)
    ended = next(action for action in actions if isinstance(action, Finish))
    assert isinstance(ended.error, WatchEnded)
    assert ended.error.problem.status == 400


def test_late_reports_change_nothing():
    """Numbers that the machine has given up: of requests, of sockets."""
    machine = Machine(POLICY, lambda: 0.5)
    machine.watch(0, Want("/r", AUTO), 0.0)
    failure = Failure(Kind.DROPPED)
    for report in (
        lambda: machine.news(99, Snapshot(State(1)), 1.0),
        lambda: machine.failed(99, failure, 1.0),
        lambda: machine.opened(99, 1.0),
        lambda: machine.event(99, StateEvent("/r", '"a"', 1), 1.0),
        lambda: machine.event(1, StateEvent("/r", '"a"', 1), 1.0),  # it is not open yet
        lambda: machine.failed(99, failure, 1.0),
        lambda: machine.alive(99, 1.0) or [],
    ):
        assert report() == []
    assert machine.opened(1, 1.0) == [SendFrame(1, watch_frame("/r"))]


def test_unwatching_leaves_nothing_behind():
    for transport in TRANSPORTS:
        world = World(11, POLICY)
        world.watch(0, (transport,))
        world.run(10)
        world._do(world.machine.unwatch(0, world.now))
        world._do(world.machine.unwatch(0, world.now))
        world.run(10)
        assert world.machine.deadline() == inf
        assert not world._lines


@pytest.mark.parametrize("first", ["websocket", "sse"])
def test_what_is_cut_again_and_again_after_it_delivered_leads_to_the_next_rung(first):
    """As a proxy does that accepts a socket, or an event stream, and ends it soon."""
    world = World(3, POLICY, weather={first: "short"})
    world.watch(0, AUTO[AUTO.index(first) :])
    world.run(30)
    asked = [transport for _, transport in world.asked]
    assert asked == [first] * 4 + [AUTO[AUTO.index(first) + 1]]
    world.change()
    world.run(1)
    assert world.shown[0] == [0, 1]
