"""The server's side of one socket: what it allows, when it closes, and that it says nothing afterwards."""

from __future__ import annotations

import json
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.errors import Problem
from restive.wire.messages import ErrorEvent, Limits, Request, RetryEvent, Send, Watch, parse_event
from restive.wire.session import Close, Deliver, SendText, Session, StartRequest, StartWatch, StopWatch

LIMITS = Limits(max_watches=3, max_requests=2, max_errors=4, requests=True, max_message=2_000)


def session(limits=LIMITS, **options):
    return Session(limits, 0.0, **options)


def watch(target):
    return json.dumps({"watch": target})


def unwatch(target):
    return json.dumps({"unwatch": target})


def request(id_):
    return json.dumps({"id": id_, "request": {"method": "GET", "target": "/a"}})


def the_error(effects):
    (sent,) = effects
    assert isinstance(sent, SendText)
    event = parse_event(sent.data)
    assert isinstance(event, ErrorEvent)
    return event


# Watches


def test_a_watch_starts_and_stops():
    socket = session()
    assert socket.receive_text(watch("/a"), 1) == [StartWatch(Watch("/a"))]
    assert socket.receive_text(unwatch("/a"), 2) == [StopWatch("/a")]
    assert socket.watches == frozenset()


def test_a_second_watch_of_a_target_replaces_the_first():
    socket = session()
    socket.receive_text(watch("/a"), 1)
    again = json.dumps({"watch": "/a", "headers": {"authorization": "Bearer new"}})
    assert socket.receive_text(again, 2) == [
        StartWatch(Watch("/a", headers=((b"authorization", b"Bearer new"),)), replaces=True)
    ]
    assert socket.watches == {"/a"}


def test_a_watch_too_many_is_refused_but_one_of_them_can_be_replaced():
    socket = session()
    for target in ("/a", "/b", "/c"):
        socket.receive_text(watch(target), 1)
    refused = the_error(socket.receive_text(watch("/d"), 2))
    assert (refused.document["status"], refused.on) == (429, "/d")
    assert socket.receive_text(watch("/c"), 3) == [StartWatch(Watch("/c"), replaces=True)]
    socket.watch_ended("/a", 4)
    assert socket.receive_text(watch("/d"), 5) == [StartWatch(Watch("/d"))]


def test_an_unwatch_of_what_has_just_ended_is_no_error():
    socket = session()
    socket.receive_text(watch("/a"), 1)
    socket.watch_ended("/a", 2)
    for _ in range(100):
        assert socket.receive_text(unwatch("/a"), 3) == []


def test_the_end_of_a_watch_that_is_not_there_changes_nothing():
    socket = session()
    socket.receive_text(watch("/a"), 1)
    socket.watch_ended("/b", 2)
    assert socket.watches == {"/a"}
    assert socket.next_deadline() == LIMITS.lifetime


# Targets


def resolve(target):
    if "evil" in target:
        raise Problem(400, "Bad target", "Its normal form is another.")
    return "/orders/" + target if not target.startswith("/") else target


def test_frames_leave_with_the_normal_form_of_their_target_and_watches_are_kept_by_it():
    socket = session()
    hears = partial(socket.receive_text, now=1, resolve=resolve)
    assert hears(watch("3")) == [StartWatch(Watch("/orders/3"))]
    assert hears(watch("/orders/3")) == [StartWatch(Watch("/orders/3"), replaces=True)]
    assert hears(unwatch("3")) == [StopWatch("/orders/3")]
    assert hears('{"send":"3","data":1}') == [Deliver(Send("/orders/3", b"1"))]
    assert hears('{"id":1,"request":{"method":"GET","target":"3"}}') == [
        StartRequest(Request(1, "GET", "/orders/3"))
    ]


@pytest.mark.parametrize(
    ("text", "on", "id_"),
    [
        (watch("//evil"), "//evil", None),
        (unwatch("//evil"), "//evil", None),
        ('{"send":"//evil","data":1}', "//evil", None),
        ('{"id":9,"request":{"method":"GET","target":"//evil"}}', None, 9),
        (watch("//evil" * 1500), None, None),
    ],
)
def test_a_bad_target_is_refused_by_its_own_name(text, on, id_):
    socket = session(Limits(requests=True))
    refused = the_error(socket.receive_text(text, 1, resolve))
    assert (refused.document["title"], refused.on, refused.id) == ("Bad target", on, id_)
    assert socket.watches == frozenset()
    assert socket.next_deadline() == LIMITS.hello


# Requests and messages


def test_requests_in_flight_are_bounded():
    socket = session()
    assert socket.receive_text(request(1), 1) == [StartRequest(Request(1, "GET", "/a"))]
    socket.receive_text(request(2), 1)
    refused = the_error(socket.receive_text(request(3), 1))
    assert (refused.document["status"], refused.id) == (429, 3)
    socket.request_done(2)
    assert socket.receive_text(request(3), 2) == [StartRequest(Request(3, "GET", "/a"))]


def test_requests_are_refused_unless_enabled():
    refused = the_error(session(Limits()).receive_text(request(1), 1))
    assert (refused.document["status"], refused.id) == (403, 1)


def test_a_message_for_a_channel_is_delivered():
    assert session().receive_text('{"send":"/r","data":{"a":1}}', 1) == [Deliver(Send("/r", b'{"a":1}'))]


# What closes it


@pytest.mark.parametrize(
    "text", ["nonsense", "{}", '{"watch":7}', '{"watch":"/a\ud800"}', b'{"watch":"\xff"}']
)
def test_a_bad_frame_is_answered_and_the_last_that_is_allowed_closes(text):
    socket = session()
    socket.receive_text(watch("/good"), 1)
    for _ in range(3):
        assert the_error(socket.receive_text(text, 1)).document["status"] == 400
    answer, close = socket.receive_text(text, 1)
    assert the_error([answer])
    assert close.code == 1008
    assert socket.closed


def test_what_the_shell_refuses_frees_nothing_and_counts_where_it_was_not_understood():
    socket = session()
    socket.receive_text(watch("/a"), 1)
    for _ in range(3):
        refused = the_error(socket.refuse(Problem(400, "Odd"), 1, on="/a"))
        assert (refused.document, refused.on) == ({"status": 400, "title": "Odd"}, "/a")
    for _ in range(50):
        the_error(socket.refuse(Problem(429, "Too many"), 1, on="/b"))
    assert socket.watches == {"/a"}
    assert socket.refuse(Problem(400, "Odd"), 1, id=3)[-1] == Close(1008, "too many frames were refused")


@pytest.mark.parametrize("character", ["x", "\u00e9", "\u20ac", "\U0001f600", "\ud800"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_message_over_the_limit_closes_with_1009(character, as_bytes):
    size = len(character.encode(errors="surrogatepass"))

    def message(length):
        text = '{"nonsense":"' + character * length
        return text.encode(errors="surrogatepass") if as_bytes else text

    most = (LIMITS.max_message - len('{"nonsense":"')) // size
    assert the_error(session().receive_text(message(most), 1))
    (close,) = session().receive_text(message(most + 1), 1)
    assert close.code == 1009


def test_a_binary_message_closes_with_1003():
    (close,) = session().receive_binary(1)
    assert close.code == 1003


def test_reasons_fit_into_a_close_frame():
    """RFC 6455, section 5.5: a control frame has at most 125 bytes, two of them the code."""
    huge = Limits(max_message=10**18)
    closes = [
        session().receive_binary(1)[-1],
        session(Limits(max_message=1)).receive_text("xx", 1)[-1],
        session(Limits(max_errors=1)).receive_text("x", 1)[-1],
        session(huge).tick(10)[-1],
        session().drain()[-1],
    ]
    assert all(len(close.reason.encode()) <= 123 for close in closes)
    assert [close.code for close in closes] == [1003, 1009, 1008, 1000, 1012]


# Time


def test_a_socket_that_watches_nothing_is_closed_after_hello():
    socket = session()
    assert socket.next_deadline() == 10
    assert socket.tick(9.9) == []
    socket.receive_text("nonsense", 9.9)
    assert [effect.code for effect in socket.tick(10)] == [1000]
    assert socket.next_deadline() is None


def test_a_socket_lingers_after_its_last_watch():
    socket = session()
    socket.receive_text(watch("/a"), 1)
    socket.receive_text(watch("/b"), 1)
    socket.watch_ended("/a", 50)
    assert socket.next_deadline() == LIMITS.lifetime
    socket.receive_text(unwatch("/b"), 60)
    assert socket.next_deadline() == 90
    socket.watch_ended("/b", 80)
    assert socket.next_deadline() == 90
    assert [effect.code for effect in socket.tick(90)] == [1000]


def test_a_new_watch_ends_the_lingering():
    socket = session()
    socket.receive_text(watch("/a"), 1)
    socket.watch_ended("/a", 50)
    socket.receive_text(watch("/a"), 79)
    assert socket.tick(100) == []


def test_a_request_in_flight_holds_the_socket_open():
    socket = session()
    socket.receive_text(request(1), 1)
    assert socket.tick(100) == []
    socket.request_done(100)
    assert socket.next_deadline() == 130


def test_a_request_in_flight_holds_the_socket_open_when_the_last_watch_ends():
    socket = session()
    socket.receive_text(request(1), 1)
    socket.receive_text(watch("/a"), 1)
    socket.watch_ended("/a", 2)
    assert socket.next_deadline() == LIMITS.lifetime
    socket.request_done(3)
    assert socket.next_deadline() == 33


def test_a_request_that_was_done_twice_is_counted_once():
    socket = session()
    socket.receive_text(request(1), 1)
    socket.request_done(2)
    socket.request_done(3)
    assert socket.next_deadline() == 32
    socket.receive_text(request(2), 4)
    socket.receive_text(request(3), 4)
    assert the_error(socket.receive_text(request(4), 4)).id == 4


@pytest.mark.parametrize(
    ("jitter", "end", "ms"), [(0.0, 3600, 750), (0.5, 3240, 1500), (0.999, 2880.72, 2248)]
)
def test_at_the_end_of_its_life_a_socket_is_told_when_to_come_back(jitter, end, ms):
    socket = session(jitter=jitter)
    socket.receive_text(watch("/a"), 1)
    assert socket.next_deadline() == pytest.approx(end)
    assert socket.tick(end - 1) == []
    told, close = socket.tick(end + 0.001)
    assert parse_event(told.data) == RetryEvent(ms)
    assert (close.code, close.retry_ms) == (1012, ms)


def test_a_server_that_drains_says_so_once():
    socket = session()
    told, close = socket.drain()
    assert parse_event(told.data) == RetryEvent(750)
    assert close.code == 1012
    assert socket.drain() == []


def test_a_message_that_comes_after_the_deadline_does_not_prolong_it():
    assert [effect.code for effect in session().receive_text(watch("/a"), 10)] == [1000]
    assert [effect.code for effect in session().receive_binary(10)] == [1000]
    assert [effect.code for effect in session().refuse(Problem(404), 10)] == [1000]


def everything(socket, now):
    """What a socket says to all that can happen to it."""
    socket.watch_ended("/a", now)
    socket.request_done(now)
    return [
        *socket.receive_text(watch("/a"), now),
        *socket.receive_text("x" * 9_999, now),
        *socket.receive_text("nonsense", now),
        *socket.receive_binary(now),
        *socket.refuse(Problem(404), now),
        *socket.tick(now),
        *socket.drain(),
    ]


def test_a_lost_connection_is_told_nothing():
    socket = session()
    socket.receive_text(watch("/a"), 1)
    socket.lost()
    assert everything(socket, 2) == []
    assert everything(socket, 10_000) == []
    assert socket.next_deadline() is None


# Whatever comes

texts = st.one_of(
    st.sampled_from(["/a", "/b", "/c", "/d", "/e", "bad"]).flatmap(
        lambda target: st.sampled_from(
            [watch(target), unwatch(target), json.dumps({"send": target, "data": 1})]
        )
    ),
    st.integers(0, 5).map(request),
    st.sampled_from(["nonsense", "{}", '{"watch":1}', "[" * 99, "x" * 2_001]),
    st.text(max_size=5),
)
events = st.one_of(
    texts.map(lambda text: ("text", text)),
    texts.map(lambda text: ("text", text)),
    st.sampled_from(["/a", "/b", "/nowhere"]).map(lambda target: ("ended", target)),
    st.just(("done", None)),
    st.just(("refuse", None)),
    st.sampled_from([("binary", None), ("tick", None), ("drain", None)]),
)
steps = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, 5.0, 9.0, 25.0, 300.0]), events), max_size=80)


def only_good(target):
    if not target.startswith("/"):
        raise Problem(400, "Bad target")
    return target


class Shell:
    """Carries effects out as a transport does, and checks at each step what must hold."""

    def __init__(self, limits, jitter):
        self.limits = limits
        self.session = Session(limits, 0.0, jitter)
        self.now = 0.0
        self.idle_since = 0.0
        self.watches = set()
        self.requests = 0
        self.errors = 0
        self.codes = []

    def step(self, seconds, kind, what):
        self.pass_time(self.now + seconds)
        self.carry_out(self.happen(kind, what))
        self.check()

    def pass_time(self, until):
        """Ticks at each deadline on the way, as a timer does."""
        deadline = self.session.next_deadline()
        if deadline is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.carry_out(self.session.tick(self.now))
            assert self.codes, "a deadline that is reached closes"
        self.now = until

    def happen(self, kind, what):
        socket, now = self.session, self.now
        match kind:
            case "text":
                return socket.receive_text(what, now, only_good)
            case "binary":
                return socket.receive_binary(now)
            case "refuse":
                return socket.refuse(Problem(404), now, on="/a")
            case "tick":
                return socket.tick(now)
            case "drain":
                return socket.drain()
            case "ended":
                self.watches.discard(what)
                socket.watch_ended(what, now)
            case "done" if self.requests:
                self.requests -= 1
                socket.request_done(now)
        return []

    def carry_out(self, effects):
        assert not (effects and self.codes), "nothing follows a close"
        for effect in effects:
            assert not self.codes, "a close is the last effect"
            match effect:
                case StartWatch(frame, replaces):
                    assert replaces == (frame.target in self.watches)
                    self.watches.add(frame.target)
                case StopWatch(target):
                    self.watches.remove(target)
                case StartRequest():
                    self.requests += 1
                case SendText(data):
                    event = parse_event(data)
                    self.errors += isinstance(event, ErrorEvent) and event.document["status"] == 400
                    assert len(data) < 500
                case Close(code, _, retry_ms):
                    assert (code == 1012) == (retry_ms is not None)
                    self.codes.append(code)

    def check(self):
        limits, socket = self.limits, self.session
        assert socket.closed == bool(self.codes)
        assert len(self.watches) <= limits.max_watches
        assert self.requests <= limits.max_requests
        assert self.errors <= limits.max_errors
        if self.watches or self.requests:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = self.now
        if socket.closed:
            assert socket.next_deadline() is None
            return
        assert socket.watches == self.watches
        assert self.errors < limits.max_errors
        assert self.now < socket.next_deadline() <= limits.lifetime
        if self.idle_since is None:
            assert socket.next_deadline() > limits.lifetime * 0.79, "what is needed is not closed as idle"
        else:
            assert socket.next_deadline() <= self.idle_since + max(limits.hello, limits.linger)


@settings(max_examples=200)
@given(
    steps, st.floats(0, 1, exclude_max=True), st.sampled_from([LIMITS, Limits(requests=True, lifetime=100)])
)
def test_whatever_comes_a_socket_keeps_its_bounds_and_closes_in_time(given_steps, jitter, limits):
    shell = Shell(limits, jitter)
    for seconds, (kind, what) in given_steps:
        shell.step(seconds, kind, what)
    shell.pass_time(limits.lifetime)
    assert len(shell.codes) == 1
    assert everything(shell.session, shell.now) == []


@given(
    st.binary(max_size=200)
    | st.text(max_size=200)
    | st.dictionaries(st.text(), st.text()).map(msgspec.json.encode)
)
def test_no_message_raises(text):
    socket = session()
    socket.receive_text(text, 1)
    assert everything(socket, 5)


def test_a_flood_of_messages_closes_but_a_page_may_open_and_replace_all_of_its_watches_at_once():
    limits = Limits(max_watches=50, message_rate=10)
    socket = session(limits)
    for _ in range(2):
        for n in range(50):
            effects = socket.receive_text(watch(f"/{n}"), 1)
            assert not any(isinstance(effect, Close) for effect in effects)
    closed = []
    while not closed:
        closed = [e for e in socket.receive_text(unwatch("/0"), 1) if isinstance(e, Close)]
    assert closed[0].code == 1008


def test_a_steady_client_within_the_rate_is_never_closed():
    socket = session(Limits(message_rate=10, lifetime=10_000))
    for n in range(5_000):
        frame = watch("/a") if n % 2 else unwatch("/a")
        assert not any(isinstance(e, Close) for e in socket.receive_text(frame, 1 + n * 0.1))
