"""What a client owes and what is too much, as tables; and whose settings count."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware.gzip import GZipMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from restive import Restive
from restive.settings import Settings
from restive.transports.refusals import Pace
from restive.transports.uvicorn.limits import Due, Limits, Part, Refusal, owed
from restive.transports.uvicorn.served import served

NONE, HEAD, BODY = Part

OWED = [
    # part, paused, responding, wanting, used
    (NONE, False, False, False, False, Due.REQUEST),
    (NONE, False, False, False, True, Due.NEXT),
    (HEAD, False, False, False, True, Due.HEAD),
    (BODY, False, True, False, True, None),  # the app is busy, or has not read what came
    (BODY, False, True, True, True, Due.BODY),
    (BODY, False, False, False, True, Due.BODY),  # answered before it was read
    (NONE, False, True, False, True, None),  # a slow app, a long poll
    (HEAD, False, True, False, True, None),  # another request comes, but it is the app's turn
    (NONE, True, True, False, True, Due.TAKING),
    (BODY, True, True, True, True, Due.TAKING),
    (NONE, True, False, False, True, Due.TAKING),
]


@pytest.mark.parametrize(("part", "paused", "responding", "wanting", "used", "expected"), OWED)
def test_what_is_owed(
    part: Part, paused: bool, responding: bool, wanting: bool, used: bool, expected: Due | None
) -> None:
    assert owed(part, paused=paused, responding=responding, wanting=wanting, used=used) is expected


def test_only_the_client_is_timed() -> None:
    """While a response is outstanding and the client takes what comes, nothing but a body is owed."""
    for part in Part:
        for used in (False, True):
            assert owed(part, paused=False, responding=True, wanting=False, used=used) is None


def limits(**settings: Any) -> Limits:
    return Limits.of(Settings(**settings), 5)


def fields(count: int, size: int = 10) -> list[tuple[bytes, bytes]]:
    return [(b"n" * size, b"v" * size)] * count


JUDGED = [
    (b"/", fields(100), 0, None),
    (b"/", fields(101), 0, 431),
    (b"/" * 8192, [], 0, None),
    (b"/" * 8193, [], 0, 414),
    (b"/", fields(1, 32_000), 65_537, None),  # counted, since it may be too much
    (b"/", fields(1, 33_000), 65_537, 431),
    (b"/", fields(1, 33_000), 65_536, None),  # known to be less
]


@pytest.mark.parametrize(("url", "headers", "at_most", "status"), JUDGED)
def test_a_whole_head(
    url: bytes, headers: list[tuple[bytes, bytes]], at_most: int, status: int | None
) -> None:
    refusal = limits().judge(url, headers, at_most)
    assert (refusal and refusal.status) == status


@given(st.integers(0, 200), st.integers(1, 2000))
def test_a_head_is_as_long_as_its_bytes(count: int, size: int) -> None:
    """Counting agrees with what would be sent, but for the first line."""
    headers = fields(count, size)
    sent = len(b"/") + len(b"".join(b"%b: %b\r\n" % line for line in headers))
    refusal = limits(max_headers=0).judge(b"/", headers, 10**9)
    assert (refusal is None) == (sent <= 65_536)


@pytest.mark.parametrize(("at_least", "status"), [(0, None), (65_536, None), (65_537, 431)])
def test_a_head_that_does_not_end(at_least: int, status: int | None) -> None:
    refusal = limits().judge_unfinished(b"/", fields(1), at_least)
    assert (refusal and refusal.status) == status


def test_no_limit() -> None:
    none = limits(first_byte=0, headers_time=0, body_idle=0, max_header_bytes=0, max_headers=0)
    assert none.judge(b"/", fields(10_000, 100), 10**9) is None
    assert {none.seconds[due] for due in (Due.REQUEST, Due.HEAD, Due.BODY)} == {math.inf}


def test_the_servers_own_time_between_requests() -> None:
    assert Limits.of(Settings(), 75).seconds[Due.NEXT] == 75


def test_an_answer() -> None:
    """One response, complete, a problem document, and the last on its connection."""
    data = Refusal("headers", 431, "Too many.").answer([(b"date", b"now")])
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert first == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert lines[0] == b"date: now"
    assert set(lines) >= {
        b"connection: close",
        b"content-type: application/problem+json",
        b"content-length: %d" % len(body),
    }
    assert json.loads(body) == {
        "status": 431,
        "title": "Request Header Fields Too Large",
        "detail": "Too many.",
    }


def test_a_pace() -> None:
    pace = Pace(3, 2, 10.0)
    assert [pace.allows(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert [pace.allows(10.5) for _ in range(2)] == [True, False]
    assert [pace.allows(99.0) for _ in range(4)] == [True, True, True, False]


# Whose settings


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An app that is not live."""


def test_the_restive_of_an_app() -> None:
    """Through uvicorn's and other middlewares, in place or wrapped."""
    inside = FastAPI()
    live = Restive(inside)
    assert served(inside) is live
    assert served(ProxyHeadersMiddleware(inside)) is live
    assert served(GZipMiddleware(ProxyHeadersMiddleware(inside))) is live
    outside = Restive(nothing)
    assert served(outside) is outside
    assert served(ProxyHeadersMiddleware(outside)) is outside


class Loop:
    """Wraps itself."""

    def __init__(self) -> None:
        self.app = self


@pytest.mark.parametrize("app", [nothing, FastAPI(), None, Loop(), SimpleNamespace(settings={}, restive=1)])
def test_no_restive(app: Any) -> None:
    assert served(app) is None
