"""May this request be answered from that stored response? RFC 9111, section by section."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.http.caching import MAX_SECONDS
from restive.http.fields import Fields
from restive.http.key import Neutral, RequestKey, request_key
from restive.http.reuse import Asked, Reuse, Stored, asked, matches, reuse, store
from restive.http.sharing import shareable

NOW = 1000.0
UNIX = 1_790_000_000.0
DATE = "Mon, 21 Sep 2026 14:13:20 GMT"  # UNIX
TAG = '"made"'
JSON = ("content-type", "application/json")


def raw(*pairs: tuple[str, str]) -> Fields:
    return tuple((name.encode(), value.encode("latin-1")) for name, value in pairs)


def key(*pairs: tuple[str, str], neutral: tuple[str, ...] = ()) -> RequestKey:
    scope = {
        "scheme": "http", "server": ("shop.test", 80), "path": "/a", "query_string": b"",
        "headers": [(b"host", b"shop.test"), *raw(*pairs)],
    }  # fmt: skip
    return request_key(scope, Neutral(neutral=neutral))


def kept(
    *pairs: tuple[str, str],
    request: RequestKey | None = None,
    declared: float | None = None,
    took: float = 0.0,
    shared: bool | None = None,
) -> Stored | None:
    fields = raw(JSON, *pairs)
    return store(
        request or key(), fields, b"{}", TAG,
        shared=shareable(200, fields) if shared is None else shared,
        declared=declared, requested=NOW - took, received=NOW, unix=UNIX,
    )  # fmt: skip


def public(*pairs: tuple[str, str], age: int = 60, **options: Any) -> Stored:
    found = kept(("cache-control", f"public, max-age={age}"), *pairs, **options)
    assert found is not None
    return found


def at(stored: Stored, seconds: float, *pairs: tuple[str, str]) -> Reuse | None:
    wanted = asked(raw(*pairs))
    return None if wanted is None else reuse(stored, wanted, NOW + seconds)


def serves(stored: Stored, *pairs: tuple[str, str]) -> bool:
    names = frozenset(name.encode() for name, _ in (("host", ""), *pairs))
    return matches(stored, key(*pairs), names)


# 3: storing


@pytest.mark.parametrize(
    ("directives", "lifetime"),
    [
        ("public, max-age=60", 60),
        ("s-maxage=60", 60),
        ("public, max-age=10, s-maxage=60", 60),
        ("max-age=60, s-maxage=10", 10),
        ("public, max-age=60, max-age=5", 5),
        ("public, max-age=60, must-revalidate", 60),
        ("public, max-age=60, proxy-revalidate, stale-while-revalidate=600, stale-if-error=600", 60),
        (f"public, max-age={10**30}", MAX_SECONDS),
    ],
)
def test_what_is_kept_and_how_long_it_is_fresh(directives: str, lifetime: float) -> None:
    found = kept(("cache-control", directives))
    assert found is not None
    assert found.lifetime == lifetime


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (("cache-control", "public"),),
        (("cache-control", "public, max-age=0"),),
        (("cache-control", "public, max-age=x"),),
        (("cache-control", "public, max-age=60, s-maxage=0"),),
        (("cache-control", "public, max-age=60, no-store"),),
        (("cache-control", "public, max-age=60, must-understand, no-store"),),
        (("cache-control", "public, max-age=60, private"),),
        (("cache-control", 'public, max-age=60, private="x"'),),
        (("cache-control", "public, max-age=60, no-cache"),),
        (("cache-control", 'public, max-age=60, no-cache="set-cookie"'),),
        (("cache-control", "public, max-age=60"), ("set-cookie", "a=b")),
        (("cache-control", "public, max-age=60"), ("vary", "*")),
        (("cache-control", "public, max-age=60"), ("content-encoding", "gzip")),
        (("cache-control", "public, max-age=60"), ("etag", "no tag")),
        (("cache-control", "public"), ("expires", DATE)),
        (("cache-control", "public"), ("expires", "0"), ("date", DATE)),
    ],
)
def test_what_is_never_kept(pairs: tuple[tuple[str, str], ...]) -> None:
    """Even where somebody said that it is shared: the response's own words count."""
    assert kept(*pairs) is None
    assert kept(*pairs, shared=True) is None


def test_a_lifetime_without_public_is_for_nobody_else() -> None:
    assert kept(("cache-control", "max-age=60")) is None


def test_fields_of_one_hop_are_not_kept() -> None:
    stored = public(
        ("connection", "close, X-Hop"), ("x-hop", "1"), ("keep-alive", "5"), ("transfer-encoding", "chunked"),
        ("proxy-authenticate", "Basic"), ("content-length", "2"), ("x-mine", "1"), ("age", "3"),
    )  # fmt: skip
    assert {name for name, _ in stored.fields} == {b"content-type", b"cache-control", b"x-mine"}


# 3.5: Authorization


def test_a_request_with_credentials_is_answered_where_the_response_allows_it() -> None:
    stored = public()
    assert serves(stored, ("authorization", "Bearer a"), ("cookie", "s=1"))
    other = kept(("cache-control", "s-maxage=60"), request=key(("authorization", "Bearer a")))
    assert other is not None
    assert serves(other, ("authorization", "Bearer b"))
    assert serves(other)


# A route that is declared fresh until changed


@pytest.mark.parametrize(
    ("pairs", "lifetime"),
    [
        ((), 30),
        ((("cache-control", "public"),), 30),
        ((("cache-control", "must-revalidate"),), 30),
        ((("cache-control", "max-age=5"),), 5),
        ((("expires", "Mon, 21 Sep 2026 14:13:30 GMT"), ("date", DATE)), 10),
        ((("cache-control", "max-age=0"),), None),
        ((("cache-control", "no-cache"),), None),
        ((("cache-control", "private"),), None),
        ((("cache-control", "no-store"),), None),
        ((("expires", "0"),), None),
        ((("set-cookie", "a=b"),), None),
        ((("vary", "*"),), None),
    ],
)
def test_a_declared_route_is_fresh_as_far_as_the_response_says_nothing_else(
    pairs: tuple[tuple[str, str], ...], lifetime: float | None
) -> None:
    found = kept(*pairs, declared=30.0)
    assert (None if found is None else found.lifetime) == lifetime


def test_a_declared_route_answers_equal_requests_without_credentials_only() -> None:
    stored = kept(declared=30.0, request=key(("accept-language", "de")))
    assert stored is not None
    assert serves(stored, ("accept-language", "de"), ("user-agent", "x"))
    for field in ("authorization", "cookie", "x-api-key", "x-unknown"):
        assert kept(declared=30.0, request=key((field, "a"))) is None


# 4.1: Vary


def test_the_fields_that_vary_names_are_equal() -> None:
    stored = public(("vary", "Accept-Language, X-Tenant"), request=key(("accept-language", "de, en")))
    assert serves(stored, ("accept-language", "de,  en"))
    assert not serves(stored, ("accept-language", "en, de"))
    assert not serves(stored)
    assert not serves(stored, ("accept-language", "de, en"), ("x-tenant", "a"))
    assert serves(stored, ("accept-language", "de, en"), ("cookie", "s=1"))


@pytest.mark.parametrize("name", ["accept-encoding", "user-agent", "sec-ch-ua", "x-forwarded-for", "referer"])
def test_what_no_look_has_must_be_absent_where_vary_names_it(name: str) -> None:
    stored = public(("vary", name))
    assert not serves(stored, (name, "gzip"))
    assert serves(stored)
    assert serves(public(), (name, "gzip"))


def test_what_says_nothing_is_as_good_as_absent() -> None:
    stored = public(("vary", "Accept, Origin, Host"))
    assert serves(stored, ("accept", "*/*"))
    assert serves(stored, ("origin", "http://shop.test"))
    assert not serves(stored, ("accept", "text/html"))


@pytest.mark.parametrize("name", ["x-forwarded-host", "x-original-url", "x-unknown", "origin"])
def test_a_field_that_only_the_stored_request_had_shapes_nobody_elses_answer(name: str) -> None:
    """Who watches with a field that the app reads without naming it in Vary poisons no plain read."""
    stored = public(request=key((name, "https://evil.test")))
    assert serves(stored, (name, "https://evil.test"))
    assert not serves(stored)
    assert not serves(stored, (name, "https://good.test"))


def test_a_cross_origin_read_is_not_answered_with_a_response_that_no_origin_was_told_of() -> None:
    assert not serves(public(), ("origin", "https://other.test"))


# 4.2: freshness


def test_nothing_stale_is_used_whatever_the_client_would_take() -> None:
    stored = public()
    assert at(stored, 59.9) is Reuse.WHOLE
    assert at(stored, 60) is Reuse.STALE
    assert at(stored, 60, ("cache-control", "max-stale")) is Reuse.STALE
    assert at(stored, 60, ("cache-control", "max-stale=600")) is Reuse.STALE


def test_age_counts_what_was_said_and_what_the_way_took() -> None:
    assert public().age_at(NOW + 5) == 5
    assert public(("age", "10")).age_at(NOW + 5) == 15
    assert public(("age", "10"), took=2).age_at(NOW + 5) == 17
    assert public(("age", "10, 20")).age_at(NOW) == 0
    assert public(("age", "old")).age_at(NOW) == 0
    assert public(("date", "Mon, 21 Sep 2026 14:13:00 GMT")).age_at(NOW) == 20
    assert public(("date", "Mon, 21 Sep 2026 14:13:00 GMT"), ("age", "30")).age_at(NOW) == 30
    assert public(("date", "Mon, 21 Sep 2036 14:13:00 GMT")).age_at(NOW) == 0


@given(age=st.integers(0, 200), took=st.floats(0, 50), later=st.floats(0, 200), limit=st.integers(1, 200))
def test_what_is_used_is_never_older_than_its_lifetime(
    age: int, took: float, later: float, limit: int
) -> None:
    fields = (("cache-control", f"public, max-age={limit}"), ("age", str(age)))
    stored = kept(*fields, took=took, shared=True)
    assert stored is not None
    used = at(stored, later) is Reuse.WHOLE
    assert used == (age + took + later < limit)


# 4.3.2: conditions of the client


def test_if_none_match_is_compared_weakly_and_counts_alone() -> None:
    stored = public(("etag", '"a"'), ("last-modified", DATE))
    later = ("if-modified-since", DATE)
    assert at(stored, 0, ("if-none-match", 'W/"a"')) is Reuse.UNMODIFIED
    assert at(stored, 0, ("if-none-match", '"b", "a"')) is Reuse.UNMODIFIED
    assert at(stored, 0, ("if-none-match", "*")) is Reuse.UNMODIFIED
    assert at(stored, 0, ("if-none-match", '"b"'), later) is Reuse.WHOLE
    assert at(public(), 0, ("if-none-match", TAG)) is Reuse.UNMODIFIED


def test_if_modified_since_is_compared_with_last_modified_only() -> None:
    stored = public(("last-modified", DATE))
    assert at(stored, 0, ("if-modified-since", DATE)) is Reuse.UNMODIFIED
    assert at(stored, 0, ("if-modified-since", "Mon, 21 Sep 2026 14:13:19 GMT")) is Reuse.WHOLE
    assert at(stored, 0, ("if-modified-since", "yesterday")) is Reuse.WHOLE
    assert at(stored, 0, ("if-modified-since", DATE), ("if-modified-since", DATE)) is Reuse.WHOLE
    assert at(public(("date", DATE)), 0, ("if-modified-since", DATE)) is Reuse.WHOLE


# 5.2.1: directives of the request


@pytest.mark.parametrize(
    ("seconds", "directives", "found"),
    [
        (20, "max-age=20", Reuse.WHOLE),
        (20, "max-age=19", Reuse.UNFIT),
        (0, "max-age=0", Reuse.WHOLE),
        (1, "max-age=0", Reuse.UNFIT),
        (1, "max-age=soon", Reuse.UNFIT),
        (1, "max-age=30, max-age=0", Reuse.UNFIT),
        (20, "min-fresh=40", Reuse.WHOLE),
        (20, "min-fresh=41", Reuse.UNFIT),
        (20, "min-fresh=0, min-fresh=41", Reuse.UNFIT),
        (20, "min-fresh=much", Reuse.UNFIT),
        (20, "no-transform, x-unknown", Reuse.WHOLE),
        (20, "only-if-cached", Reuse.WHOLE),
        (20, "no-cache", None),
        (20, "no-store", None),
        (20, "NO-CACHE, only-if-cached", None),
    ],
)
def test_directives_of_the_request(seconds: float, directives: str, found: Reuse | None) -> None:
    assert at(public(), seconds, ("cache-control", directives)) is found


def test_only_if_cached_is_told() -> None:
    assert asked(raw(("cache-control", "only-if-cached"))) == Asked(only_if_cached=True)


def test_pragma_counts_where_cache_control_is_absent() -> None:
    assert asked(raw(("pragma", "No-Cache"))) is None
    assert asked(raw(("pragma", "other"))) == Asked()
    assert asked(raw(("pragma", "no-cache"), ("cache-control", "max-age=5"))) == Asked(max_age=5)


@pytest.mark.parametrize(
    "pair",
    [
        ("range", "bytes=0-1"),
        ("if-range", '"a"'),
        ("if-match", '"a"'),
        ("if-unmodified-since", DATE),
        ("prefer", "wait=5"),
        ("transfer-encoding", "chunked"),
        ("content-length", "2"),
    ],
)
def test_what_only_the_app_may_answer(pair: tuple[str, str]) -> None:
    assert asked(raw(pair)) is None


def test_a_length_of_nothing_is_no_content() -> None:
    assert asked(raw(("content-length", "0"))) == Asked()
