"""Prefer (RFC 7240) and Accept (RFC 9110, 12.5.1)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.http.preferences import accepted, prefer, wait_seconds


def asked(*lines: str):
    return tuple((b"prefer", line.encode("latin-1")) for line in lines)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], {}),
        ([""], {}),
        (["wait=30"], {"wait": "30"}),
        (["Wait = 30"], {"wait": "30"}),
        (['wait="30"'], {"wait": "30"}),
        (["respond-async, wait=5"], {"respond-async": "", "wait": "5"}),
        (["wait=5", "wait=6"], {"wait": "5"}),
        (["wait=5, WAIT=6"], {"wait": "5"}),
        (["foo; bar=1; wait=9, wait=5;x"], {"foo": "", "wait": "5"}),
        (['foo="a,wait=9;b"; x'], {"foo": "a,wait=9;b"}),
        ([r'foo="a\"b"'], {"foo": 'a"b'}),
        (['foo=""'], {"foo": ""}),
        (["foo="], {"foo": ""}),
        (["=5, wait=5"], {"wait": "5"}),
        (["a b=5, wait=5"], {"wait": "5"}),
        (["wait=5 6, x"], {"x": ""}),
        (['wait="5, x'], {}),
        ([";;, ;, x"], {"x": ""}),
    ],
)
def test_prefer(lines, found):
    assert prefer(asked(*lines)) == found


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("0", 0),
        ("99", 60),
        ("9" * 5000, 60),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("5s", None),
        ("²", None),
    ],
)
def test_wait(value, seconds):
    assert wait_seconds({"wait": value}, 60) == seconds


def test_no_wait():
    assert wait_seconds({}, 60) is None


@given(
    st.text(st.characters(max_codepoint=0xFF), max_size=40) | st.text(alphabet='wait=";, 5\\', max_size=40)
)
def test_no_preference_is_refused(text):
    seconds = wait_seconds(prefer(asked(text)), math.inf)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        ("*/*", [("*/*", 1)]),
        ("Text/HTML;level=1;Q=0.5, text/*;q=0", [("text/html", 0.5), ("text/*", 0)]),
        ("a/b;q=1.000, c/d; q = 0.1", [("a/b", 1), ("c/d", 0.1)]),
        ("a/b;q=2, c/d;q=x, e/f;q=", [("a/b", 0), ("c/d", 0), ("e/f", 0)]),
        ('a/b;x=",;q=0"', [("a/b", 1)]),
        ("nonsense, , ;q=1, a/b", [("a/b", 1)]),
    ],
)
def test_accepted(value, found):
    assert accepted(value) == found
