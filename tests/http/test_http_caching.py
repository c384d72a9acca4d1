"""Cache-Control (RFC 9111, 5.2), lifetimes, finality and Retry-After."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.http.caching import MAX_SECONDS, cache_control, delta_seconds
from restive.http.freshness import http_date, is_final, lifetime, retry_after

YEAR = 31_536_000
DATE = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


def said(*lines: str):
    return tuple((b"cache-control", line.encode("latin-1")) for line in lines)


@pytest.mark.parametrize(
    "value",
    [
        "no-store",
        "NO-STORE",
        "public,no-store",
        "public ,\tNo-Store , max-age=1",
        'no-store="x"',
        "no-store=x",
        "no-store =1",
        "no-store;",
        "public no-store",
        "no-store public",
        'x="never ends, no-store',
        'x=", no-store, y="',
        '"no-store"',
        '"no-store',
        'x="a"no-store',
        ",,no-store,,",
        "no-store\x0b",
    ],
)
def test_a_restriction_counts_however_it_is_written(value):
    strict = cache_control(said(value)).has("no-store")
    # A comma within a well-formed quoted string is no separator: that one says nothing of no-store.
    assert strict is (value != 'x=", no-store, y="')


@pytest.mark.parametrize("length", [1, 1000])
def test_a_value_that_comes_again_says_the_same(length):
    for _ in range(2):
        for name in ("public", "private"):
            found = cache_control(said(f"{name}, max-age=5, x={'y' * length}"))
            assert (found.has("public"), found.has("private")) == (name == "public", name == "private")
            assert found.seconds("max-age") == 5


def test_a_value_of_an_extension_is_no_directive():
    found = cache_control(said('ext="no-store, private", max-age=5'))
    assert not found.has("no-store")
    assert not found.has("private")
    assert found.has("ext")
    assert found.seconds("max-age") == 5


@pytest.mark.parametrize(
    "value", ['"\\' * 100_000, '"' * 100_001, 'a="' * 100_001, 'a="\\"' * 50_000, "=" * 200_000]
)
def test_hostile_directives_are_linear(value):
    assert cache_control(said(value + ",no-store")).has("no-store")


def test_nothing_said():
    assert cache_control(()).seconds("max-age") is None
    assert not cache_control(()).has("public")
    assert not cache_control(said("")).has("")


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["max-age=60"], 60),
        (["MAX-AGE=60"], 60),
        (['max-age="60"'], 60),
        (["max-age=0060"], 60),
        (["max-age=60", "max-age=5"], 5),
        (["max-age=5, max-age=60"], 5),
        (["max-age=60, max-age=x"], 0),
        (["max-age"], 0),
        (["max-age="], 0),
        (["max-age=-1"], 0),
        (["max-age=+1"], 0),
        (["max-age=1.5"], 0),
        (["max-age=1 0"], 0),
        (["max-age= 60"], 0),
        (["max-age=\xb2"], 0),
        (["max-age=" + "9" * 10_000], MAX_SECONDS),
        (["max-age=2147483649"], MAX_SECONDS),
    ],
)
def test_seconds(lines, seconds):
    assert cache_control(said(*lines)).seconds("max-age") == seconds


@given(st.integers(0, MAX_SECONDS))
def test_digits_are_seconds(number):
    assert delta_seconds(str(number)) == number


@given(st.text(alphabet='ab-=",;\\ 1', max_size=30))
def test_a_restriction_is_found_behind_any_text(text):
    """Only a well-formed quoted string may hide a directive."""
    if text.count('"') == 0:
        assert cache_control(said(text + ",private")).has("private")
    assert cache_control(said("private," + text)).has("private")


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ((), None),
        (said("public"), None),
        (said("max-age=60"), 60),
        (said("private, max-age=60"), 60),
        (said("s-maxage=10, max-age=60"), 10),
        (said("s-maxage=0, max-age=60"), None),
        (said("max-age=0"), None),
        (said("no-cache, max-age=60"), None),
        (said('no-cache="set-cookie", max-age=60'), None),
        (said("no-store, max-age=60"), None),
        (said("max-age=x"), None),
        ((*said("max-age=60"), (b"age", b"20")), 40),
        ((*said("max-age=60"), (b"age", b"60")), None),
        ((*said("max-age=60"), (b"age", b"soon")), 60),
        (((b"expires", b"Sun, 06 Nov 1994 08:49:47 GMT"), (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")), 10),
        (((b"expires", b"0"), (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")), None),
        (((b"expires", b"Sun, 06 Nov 1994 08:49:37 GMT"),), None),
    ],
)
def test_lifetime(fields, seconds):
    assert lifetime(fields) == seconds


@pytest.mark.parametrize(
    ("fields", "final"),
    [
        (said(f"immutable, max-age={YEAR}"), True),
        (said(f"max-age={YEAR}"), False),
        (said("immutable"), False),
        (said("immutable, max-age=60"), False),
        (said(f"immutable, no-cache, max-age={YEAR}"), False),
        ((*said(f"immutable, max-age={YEAR}"), (b"age", b"1")), False),
    ],
)
def test_final(fields, final):
    assert is_final(fields, YEAR) is final


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("Sun, 06 Nov 1994 08:49:40 GMT", 3),
        ("Sun, 06 Nov 1994 08:49:30 GMT", 0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("Sun, 99 Nov 1994 08:49:40 GMT", None),
        ("Sun, 06 Nov 999999999999 08:49:40 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(((b"retry-after", value.encode()),), DATE) == seconds


def test_without_retry_after():
    assert retry_after((), DATE) is None


@pytest.mark.parametrize(
    "value",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_a_date(value):
    assert http_date(value) == DATE


@given(st.text(max_size=40) | st.text(alphabet="SunNov0123456789:,-+ GMT", max_size=40))
def test_no_text_breaks_a_date(text):
    date = http_date(text)
    assert date is None or isinstance(date, float)
