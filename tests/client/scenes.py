"""Short stories of the machine, call by call: what the worlds at random seldom come to. See ``vectors``."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from restive.client.attempt import Ask, OpenSocket, Want
from restive.client.news import Announced, Ended, Failure, Kind, Snapshot, Unchanged
from restive.client.policy import AUTO
from restive.client.state import State
from restive.errors import Problem
from restive.wire.messages import (
    ClosedEvent,
    CurrentEvent,
    EndEvent,
    ErrorEvent,
    FetchEvent,
    RetryEvent,
    StateEvent,
)

__all__ = ["SCENES", "Prompt"]


class Prompt:
    """A shell that ticks at once where that is due at once."""

    def __init__(self, machine: Any) -> None:
        self.in_this_turn = machine

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any) -> Any:
            done = getattr(self.in_this_turn, method)(*arguments)
            if isinstance(done, list) and self.deadline() <= arguments[-1] + 1e-5:
                done += self.tick(self.deadline())
            return done

        return call


def _until(m: Any, when: float) -> None:
    while m.deadline() <= when:
        m.tick(m.deadline())


def _open(m: Any, *targets: str, rungs: Any = AUTO) -> None:
    for key, target in enumerate(targets):
        m.watch(key, Want(target, rungs), 0.0)
    m.opened(1, 0.1)


def a_known_tag_shows_nothing(m: Any) -> None:
    m.watch(0, Want("/r", AUTO, (("authorization", "Bearer x"), ("accept", "text/plain")), '"a"'), 0.0)
    m.opened(1, 0.1)
    m.event(1, CurrentEvent("/r", '"a"'), 0.2)
    m.event(1, StateEvent("/r", '"b"', {"a": [1, None, "ä"]}), 0.3)


def a_coarse_tag_hides_no_state(m: Any) -> None:
    m.watch(0, Want("/r", ("sse",)), 0.0)
    for data, tag in [
        (1, '"t"'),
        (1, 'W/"t"'),
        (True, '"t"'),
        ({"a": 1, "b": 2}, '"t"'),
        ({"b": 2, "a": 1}, '"t"'),
    ]:
        m.news(1, Snapshot(State(data, tag)), 0.1)
    m.news(1, Announced('"t"'), 0.2)
    m.news(2, Snapshot(State(b"\x00\x01", '"t"')), 0.3)
    m.news(1, Announced('"t"'), 0.4)
    m.news(3, Snapshot(State(b"\x00\x01", '"t"')), 0.5)
    m.news(1, Announced('"t"'), 0.6)
    m.news(4, Snapshot(State(b"\x00\x02", '"t"')), 0.7)
    for data, tag in [(5, None), (5, '"t"'), (5, None), (6, None)]:
        m.news(1, Snapshot(State(data, tag)), 0.8)


def text_is_asked_for_as_text(m: Any) -> None:
    m.watch(0, Want("/t", ("sse",)), 0.0)
    m.news(1, Snapshot(State("12", '"a"', "12")), 0.1)
    m.failed(1, Failure(Kind.DROPPED), 9.0)
    _until(m, 10.0)
    m.alive(2, 11.0)
    m.news(2, Snapshot(State("12", '"a"', "12")), 12.0)
    m.news(2, Snapshot(State("13", '"b"', "13")), 12.0)


def a_watch_that_a_socket_refuses_goes_elsewhere(m: Any) -> None:
    _open(m, "/ok", "/odd")
    m.event(1, StateEvent("/ok", '"a"', 1), 0.2)
    m.event(1, ErrorEvent({"status": 400, "title": "Odd"}, on="/odd"), 0.2)
    m.event(1, ErrorEvent({"status": 400, "title": "Odd"}), 0.2)
    _until(m, 1.0)
    m.news(2, Snapshot(State(2, '"b"')), 1.0)
    _until(m, 400.0)
    m.watch(2, Want("/new", AUTO), 401.0)


def a_watch_that_only_a_socket_may_carry_ends_where_it_refuses(m: Any) -> None:
    _open(m, "/odd", rungs=("websocket",))
    m.event(1, ErrorEvent({"title": "Odd"}, on="/odd"), 0.2)
    _until(m, 60.0)


def the_server_says_when_to_ask_again(m: Any) -> None:
    m.watch(0, Want("/r", ("poll",)), 0.0)
    m.news(1, Snapshot(State(1, '"a"'), again=20.0), 0.1)
    _until(m, 30.0)
    m.news(2, Unchanged('"a"', again=0.0), 30.0)
    _until(m, 31.0)
    m.failed(3, Failure(Kind.BUSY, Problem(503), again=7.0), 31.0)
    _until(m, 40.0)
    m.failed(4, Failure(Kind.BUSY), 40.0)
    _until(m, 50.0)
    m.news(5, Snapshot(State(2, '"b"')), 50.0)
    _until(m, 60.0)


def a_stream_says_when_to_come_back(m: Any) -> None:
    m.watch(0, Want("/r", ("sse", "poll")), 0.0)
    m.news(1, Snapshot(State(1, '"a"')), 0.1)
    m.failed(1, Failure(Kind.DROPPED, EOFError("ended"), again=3.0), 60.0)
    _until(m, 70.0)
    m.failed(2, Failure(Kind.BUSY, Problem(429), again=4.0), 70.0)
    _until(m, 80.0)
    m.failed(3, Failure(Kind.REFUSED, Problem(400), again=5.0), 80.0)
    _until(m, 90.0)
    m.news(4, Unchanged('"a"'), 90.0)


def a_socket_says_when_to_come_back(m: Any) -> None:
    _open(m, "/a", "/b")
    m.event(1, StateEvent("/a", '"a"', 1), 0.2)
    m.event(1, RetryEvent(1500), 10.0)
    m.event(1, ClosedEvent("/a"), 10.0)
    m.failed(1, Failure(Kind.DROPPED, again=99.0), 10.1)
    m.watch(2, Want("/c", AUTO), 10.2)
    _until(m, 14.0)
    m.failed(2, Failure(Kind.BUSY, Problem(503), again=4.0), 14.0)
    _until(m, 60.0)


def a_silent_socket_is_left_by_all(m: Any) -> None:
    _open(m, "/a", "/b")
    _until(m, 12.5)
    for number in range(2, 8):
        m.news(number, Snapshot(State(number, f'"{number}"')), 13.0)
    _until(m, 90.0)
    m.opened(8, 90.0)
    m.event(8, StateEvent("/a", '"x"', 1), 90.1)
    m.event(8, StateEvent("/b", '"x"', 1), 90.1)
    _until(m, 140.0)


def a_slow_look_moves_one_watch(m: Any) -> None:
    _open(m, "/a", "/slow")
    m.event(1, StateEvent("/a", '"a"', 1), 0.2)
    _until(m, 13.0)
    m.news(2, Snapshot(State(1, '"s"')), 13.0)
    _until(m, 200.0)


def two_watches_of_one_target_share(m: Any) -> None:
    m.shares_socket("/r", ())
    m.watch(0, Want("/r", AUTO), 0.0)
    m.opened(1, 0.0)
    m.shares_socket("/r", ())
    m.shares_socket("/r", (("accept", "text/plain"),))
    m.event(1, StateEvent("/r", '"a"', "A"), 0.0)
    m.event(1, StateEvent("/r", '"b"', "B"), 0.0)
    m.watch(1, Want("/r", AUTO, etag='"a"'), 1.0)
    m.event(1, CurrentEvent("/r", '"a"'), 1.0)
    m.event(1, FetchEvent("/r", '"c"'), 1.0)
    m.news(2, Snapshot(State("A", '"a"')), 1.0)
    m.news(3, Snapshot(State("C", '"c"')), 1.1)
    _until(m, 2.0)
    m.unwatch(0, 3.0)
    m.unwatch(0, 3.0)
    m.unwatch(1, 4.0)
    m.watch(2, Want("/r", AUTO), 4.5)
    m.unwatch(2, 4.6)
    _until(m, 10.0)


def the_end_is_told_to_each(m: Any) -> None:
    _open(m, "/gone", "/final", "/moved")
    m.event(1, EndEvent("/gone", {"status": 404, "detail": "No.", "more": [1]}), 0.2)
    m.event(1, StateEvent("/final", '"a"', 1), 0.2)
    m.watch(3, Want("/final", AUTO, etag='"a"'), 0.3)
    m.event(1, EndEvent("/final", {"status": 200}), 0.4)
    m.news(2, Unchanged('"a"', final=True), 0.5)
    m.event(1, EndEvent("/moved", {"status": 308, "location": "/b"}), 0.6)
    _until(m, 10.0)


def the_end_may_be_told_before_a_state(m: Any) -> None:
    _open(m, "/final")
    m.event(1, EndEvent("/final", {"status": 200}), 0.2)
    m.news(2, Snapshot(State(1, '"a"'), final=True), 0.3)
    m.watch(1, Want("/b", AUTO), 1.0)
    m.event(1, StateEvent("/b", '"a"', 1), 1.1)
    m.watch(2, Want("/b", AUTO, etag='"b"'), 1.2)
    m.event(1, StateEvent("/b", '"c"', 1), 1.3)
    m.event(1, StateEvent("/b", '"d"', 1), 1.3)
    m.event(1, EndEvent("/b", {"status": 200}), 1.4)


def nobody_waits_any_more_when_the_socket_opens(m: Any) -> None:
    m.watch(0, Want("/r", AUTO), 0.0)
    m.unwatch(0, 0.5)
    m.opened(1, 0.9)
    m.event(1, RetryEvent(100), 1.5)
    _until(m, 3.0)


def what_was_shown_before_the_socket_opened_is_resumed_from(m: Any) -> None:
    m.watch(0, Want("/r", ("websocket", "sse")), 0.0)
    m.failed(1, Failure(Kind.REFUSED), 0.1)
    _until(m, 1.0)
    m.news(2, Snapshot(State(1, '"a"')), 1.0)
    m.alive(2, 45.0)
    while m.deadline() < 70.0:
        m.tick(m.deadline())
        m.alive(2, 70.0)
    m.news(2, Snapshot(State(2, '"b"')), 70.0)
    m.opened(3, 70.1)
    m.event(3, StateEvent("/r", '"c"', 3), 70.2)


def the_end_waits_for_what_was_announced(m: Any) -> None:
    m.watch(0, Want("/r", ("sse",)), 0.0)
    m.news(1, Announced('"a"'), 0.1)
    m.news(1, Ended(None), 0.2)
    m.failed(1, Failure(Kind.DROPPED), 0.3)
    m.failed(2, Failure(Kind.BUSY, again=1.0), 0.4)
    _until(m, 3.0)
    m.failed(3, Failure(Kind.UNREACHABLE), 3.0)
    _until(m, 6.0)
    m.news(4, Snapshot(State(1, '"a"')), 6.1)


def a_fetch_is_refused(m: Any) -> None:
    m.watch(0, Want("/r", ("sse",)), 0.0)
    m.news(1, Announced('"a"'), 0.1)
    m.news(1, Announced('"b"'), 0.1)
    m.news(2, Ended(Problem(403)), 0.2)


def a_long_poll_asks_whether_a_state_has_become_final(m: Any) -> None:
    m.watch(0, Want("/r", ("long-poll",), etag='"t"'), 0.0)
    for number in range(1, 9):
        m.news(number, Unchanged('"t"', final=number == 8), 10.0 * number)
        _until(m, 10.0 * number + 9.0)


def a_long_poll_that_waits_for_nothing_is_left(m: Any) -> None:
    m.watch(0, Want("/r", ("long-poll", "poll")), 0.0)
    m.news(1, Snapshot(State(1, '"a"')), 0.1)
    _until(m, 0.2)
    m.news(2, Snapshot(State(1, 'W/"a"')), 0.3)
    _until(m, 3.0)
    m.news(3, Snapshot(State(2, None)), 3.0)
    _until(m, 90.0)


def long_polls_that_are_answered_at_once_slow_down(m: Any) -> None:
    m.watch(0, Want("/r", ("long-poll",)), 0.0)
    now = 0.0
    for number in range(1, 26):
        asked = m.news(number, Snapshot(State(number, f'"{number}"')), now)
        if Ask not in map(type, asked):
            now = m.deadline()
            m.tick(now)


def of_better_transports_the_one_that_is_free_first_is_tried(m: Any) -> None:
    m.watch(0, Want("/a", ("sse", "ndjson")), 0.0)
    m.failed(1, Failure(Kind.REFUSED), 0.0)
    _until(m, 1.0)
    m.news(2, Snapshot(State(1, '"a"')), 1.0)
    m.watch(1, Want("/b", ("websocket", "ndjson")), 40.0)
    m.failed(3, Failure(Kind.REFUSED), 40.0)
    _until(m, 41.0)
    m.news(4, Snapshot(State(1, '"b"')), 41.0)
    m.watch(2, Want("/c", ("websocket", "sse", "ndjson")), 42.0)
    m.news(5, Snapshot(State(1, '"c"')), 42.0)
    m.unwatch(0, 42.0)
    m.unwatch(1, 42.0)
    _until(m, 80.0)


def nothing_ever_comes(m: Any) -> None:
    m.watch(0, Want("/r", AUTO), 0.0)
    m.watch(1, Want("/s", ("poll",)), 0.0)
    for number in range(1, 60):
        now = m.deadline() if m.deadline() < 1e6 else 99.0
        m.tick(now)
        m.failed(number, Failure(Kind.UNREACHABLE, OSError("no route")), now)
        m.failed(number, Failure(Kind.UNREACHABLE, OSError("no route")), now)


def new_credentials(m: Any) -> None:
    m.reopen_socket(0.0)
    m.watch(0, Want("/a", AUTO), 0.0)
    m.reopen_socket(0.1)
    m.opened(1, 0.2)
    m.opened(2, 0.2)
    m.event(2, StateEvent("/a", '"a"', 1), 0.3)
    m.reopen_socket(0.4)
    m.event(2, StateEvent("/a", '"b"', 2), 0.5)
    m.opened(3, 0.5)
    m.event(3, CurrentEvent("/a", '"a"'), 0.6)
    m.failed(2, Failure(Kind.DROPPED), 0.7)
    _until(m, 5.0)


def late_reports_change_nothing(m: Any) -> None:
    m.watch(0, Want("/r", AUTO), 0.0)
    m.news(99, Snapshot(State(1)), 1.0)
    m.failed(99, Failure(Kind.DROPPED), 1.0)
    m.alive(99, 1.0)
    m.opened(99, 1.0)
    m.event(99, StateEvent("/r", '"a"', 1), 1.0)
    m.event(1, StateEvent("/r", '"a"', 1), 1.0)
    m.failed(99, Failure(Kind.DROPPED), 1.0)
    m.opened(1, 1.0)
    m.opened(1, 1.0)


def what_is_cut_again_and_again_is_left(m: Any) -> None:
    m.watch(0, Want("/r", AUTO[1:]), 0.0)
    for number in range(1, 5):
        m.news(number, Snapshot(State(number, f'"{number}"')), 10.0 * number)
        m.failed(number, Failure(Kind.DROPPED, again=0.1 if number == 1 else None), 10.0 * number + 1)
        _until(m, 10.0 * number + 9)
    m.news(5, Snapshot(State(5, '"5"')), 50.0)
    _until(m, 60.0)


def a_better_transport_is_tried_beside(m: Any) -> None:
    m.watch(0, Want("/r", AUTO), 0.0)
    m.failed(1, Failure(Kind.REFUSED), 0.1)
    _until(m, 1.0)
    m.news(2, Snapshot(State(1, '"a"')), 1.0)
    for number, kind in enumerate([Kind.REFUSED, Kind.DROPPED, Kind.UNREACHABLE], 3):
        m.failed(number, Failure(kind), _until_it_opens(m))
    now = _until_it_opens(m)
    m.opened(6, now)
    m.event(6, ErrorEvent({"status": 400}, on="/r"), now)
    m.alive(2, now)
    _until(m, now + 44.0)


def _until_it_opens(m: Any) -> float:
    while True:
        now = m.deadline()
        m.alive(2, now)
        if OpenSocket in map(type, m.tick(now)):
            return now


def _three(m: Any, transport: Any) -> None:
    for key, target in enumerate(["/a", "/b", "/c"]):
        m.in_this_turn.watch(key, Want(target, (transport, "poll")), 0.0)


def a_stream_is_shared_from_the_second_watch_on(m: Any) -> None:
    _three(m, "sse")
    _until(m, 1.0)
    m.event(1, StateEvent("/a", '"a"', 1), 1.1)
    m.event(1, StateEvent("/b", '"b"', text="12"), 1.1)
    m.event(1, ErrorEvent({"status": 404}, on="/c"), 1.2)
    m.watch(3, Want("/d", ("sse",), (("x-key", "1"),)), 2.0)
    m.watch(4, Want("/b", ("sse",), (), '"x"'), 2.0)
    m.watch(5, Want("/b", ("sse",), (("accept", "text/plain"),)), 2.01)
    _until(m, 3.0)
    m.event(5, CurrentEvent("/b", '"b"'), 3.0)
    m.event(5, StateEvent("/b", '"c"', text="13"), 3.0)
    m.unwatch(0, 3.1)
    m.unwatch(4, 3.11)
    _until(m, 14.0)
    m.alive(4, 14.0)
    _until(m, 40.0)


def a_shared_stream_that_ends_comes_back_as_one(m: Any) -> None:
    _three(m, "sse")
    _until(m, 1.0)
    for on in ("/a", "/b"):
        m.event(1, StateEvent(on, '"a"', 1), 1.1)
    m.event(1, EndEvent("/a", {"status": 200}), 1.2)
    m.event(1, RetryEvent(2000), 8.0)
    m.failed(1, Failure(Kind.DROPPED), 8.1)
    _until(m, 11.0)
    for number in range(2, 6):
        m.failed(number, Failure(Kind.BUSY, Problem(503), again=3.0), 11.0 * number)
        _until(m, 11.0 * number + 5.0)
    m.failed(6, Failure(Kind.REFUSED), 80.0)
    _until(m, 82.0)


def a_server_that_takes_no_request_for_many(m: Any) -> None:
    _three(m, "sse")
    _until(m, 1.0)
    m.failed(1, Failure(Kind.MISFIT, Problem(405)), 1.0)
    for number in range(2, 5):
        m.news(number, Snapshot(State(number, f'"{number}"')), 1.1)
    m.watch(3, Want("/d", ("sse",)), 2.0)
    m.failed(4, Failure(Kind.DROPPED), 30.0)
    _until(m, 60.0)


def a_long_poll_for_many_tells_of_some(m: Any) -> None:
    _three(m, "long-poll")
    _until(m, 0.01)
    m.answer(1, [StateEvent("/a", '"a"', 1), FetchEvent("/b", '"b"')], 0.1)
    m.news(2, Snapshot(State(2, '"b"')), 0.2)
    m.news(3, Snapshot(State(2, '"b"')), 0.2)
    m.answer(2, [CurrentEvent("/a", '"a"'), StateEvent("/b", '"b"', 2)], 6.0)
    m.answer(3, [CurrentEvent("/a", '"a"'), StateEvent("/b", '"b"', 2)], 6.0)
    _until(m, 14.0)
    for number in range(4, 8):
        m.answer(number, [], 14.0 + number)
        _until(m, 15.0 + number)
    m.news(8, Unchanged(), 51.0)
    _until(m, 60.0)


def who_comes_meanwhile_is_asked_for_next(m: Any) -> None:
    _three(m, "long-poll")
    _until(m, 0.01)
    m.watch(3, Want("/a", ("long-poll",), (), '"d"'), 0.02)
    m.news(1, Unchanged(), 0.03)
    _until(m, 0.3)
    m.answer(2, [StateEvent("/a", '"d"', 1)], 0.4)
    m.watch(4, Want("/a", ("long-poll",), (), 'W/"d"'), 3.0)
    _until(m, 4.0)


def what_works_for_one_is_tried_by_all(m: Any) -> None:
    for key, target in enumerate(["/a", "/b", "/c"]):
        m.watch(key, Want(target, ("websocket", "sse")), 0.0)
    m.failed(1, Failure(Kind.REFUSED), 0.1)
    _until(m, 1.0)
    for on in ("/a", "/b", "/c"):
        m.event(2, StateEvent(on, '"a"', 1), 1.1)
    while m.deadline() < 90.0:
        now = m.deadline()
        m.alive(2, now)
        for action in m.tick(now):
            if isinstance(action, OpenSocket):
                m.opened(action.number, now)
                m.event(action.number, StateEvent("/b", '"b"', 2), now)


SCENES = [
    scene for name, scene in globals().items() if isinstance(scene, FunctionType) and not name.startswith("_")
]
"""All of them, in order."""
