"""Who shares: what a shared cache could reuse without asking, and nothing more (design 2.1)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.http.key import Neutral, RequestKey, request_key
from restive.http.neutral import HARMLESS, is_harmless
from restive.http.sharing import (
    has_credentials,
    per_watcher,
    private_by_default,
    selects,
    shareable,
    shares,
    vary,
)


def answer(cache_control="", *others):
    return ((b"cache-control", cache_control.encode("latin-1")), *others)


@pytest.mark.parametrize(
    "said",
    [
        "s-maxage=60",
        "S-MaxAge=60",
        's-maxage="60"',
        "public, max-age=60",
        "Public , Max-Age=60",
        "max-age=60,public",
        "public, max-age=0, s-maxage=5",
        "s-maxage=60, must-revalidate",
        "public, max-age=31536000, immutable",
        'public, max-age=60, ext="no-store, private"',
        "public, max-age=60, stale-while-revalidate=5",
    ],
)
def test_what_a_shared_cache_could_reuse_is_shared(said):
    assert shareable(200, answer(said))


@pytest.mark.parametrize(
    "said",
    [
        "",
        "public",
        "max-age=60",
        "must-revalidate, max-age=60",
        "public, max-age=0",
        "public, s-maxage=0, max-age=60",
        "s-maxage=0",
        "s-maxage=x",
        "s-maxage=60, s-maxage=0",
        "s-maxage",
        "s-maxage=-1",
        "public, max-age=60, max-age=x",
        "public max-age=60",
        "public; max-age=60",
        "publics, max-age=60",
        "immutable",
    ],
)
def test_what_says_less_is_not(said):
    assert not shareable(200, answer(said))


def test_heuristics_and_other_words_never_count():
    expires = ((b"expires", b"Sun, 06 Nov 2094 08:49:37 GMT"),)
    assert not shareable(200, ((b"last-modified", b"Sun, 06 Nov 1994 08:49:37 GMT"),))
    assert not shareable(200, expires)
    assert not shareable(200, answer("public", *expires))
    dated = (*expires, (b"date", b"Sun, 06 Nov 2044 08:49:37 GMT"))
    assert shareable(200, answer("public", *dated))
    assert not shareable(200, answer("", *dated))
    assert not shareable(200, answer("public, max-age=60", (b"age", b"60")))


@pytest.mark.parametrize("status", [206, 301, 302, 304, 307, 400, 401, 403, 405, 406, 429, 500, 503])
def test_only_states_are_shared(status):
    assert not shareable(status, answer("s-maxage=60"))


RESTRICTIONS = [
    "private",
    "no-store",
    "no-cache",
    'private="x"',
    'no-cache="set-cookie"',
    "no-store=1",
    'no-store="',
]
cased = (
    st.sampled_from(RESTRICTIONS)
    .flatmap(lambda word: st.tuples(st.just(word), st.lists(st.booleans(), min_size=len(word))))
    .map(lambda pair: "".join(c.upper() if up else c for c, up in zip(*pair, strict=False)))
)
permissions = st.lists(
    st.sampled_from(
        [
            "public",
            "s-maxage=60",
            "max-age=60",
            "immutable",
            'ext="a,b"',
            "x=1",
            "",
            "s-maxage=9",
            "must-revalidate",
        ]
    ),
    max_size=5,
)
glue = st.sampled_from([",", ", ", " ,", ",,", "\t,\t", " , "])
splits = st.integers(0, 3)


@settings(max_examples=200)
@given(permissions, cased, permissions, glue, st.booleans())
def test_a_restriction_wins_in_any_spelling_place_and_line(before, restriction, behind, comma, lines):
    said = ["public", "s-maxage=60", *before, restriction, *behind]
    written = said if lines else [comma.join(said)]
    assert not shareable(200, tuple((b"cache-control", line.encode()) for line in written))


@settings(max_examples=100)
@given(st.sampled_from(["*", "accept, *", "*,*", " * ", "a b", '"*"', "*;q=1", "x,é"]), st.booleans())
def test_vary_by_everything_or_by_nonsense_is_one_per_watcher(value, public):
    fields = answer("public, s-maxage=60" if public else "", (b"vary", value.encode("latin-1")))
    assert vary(fields) is None
    assert per_watcher(fields)
    assert not shareable(200, fields)


def test_a_cookie_that_is_set_is_one_per_watcher():
    fields = answer("public, max-age=60", (b"set-cookie", b"a=1"))
    assert per_watcher(fields)
    assert not shareable(200, fields)
    assert not per_watcher(answer("private, no-store"))


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], set()),
        ([b""], set()),
        ([b"Accept-Language"], {b"accept-language"}),
        ([b"Accept, ,ORIGIN", b"accept"], {b"accept", b"origin"}),
    ],
)
def test_vary(lines, names):
    assert vary(tuple((b"vary", line) for line in lines)) == names


def key(*fields, **parts):
    given = {"scheme": "http", "server": None, "authority": "a", "root_path": "", "target": "/a", **parts}
    return RequestKey(**given, fields=fields)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ([], [], True),
        ([b"de"], [b"de"], True),
        ([b"de"], [b"en"], False),
        ([b"de"], [], False),
        ([b""], [], False),
        ([b"de, en"], [b"de", b"en"], True),
        ([b"de,en"], [b"de ,  en"], True),
        ([b"de, en"], [b"en, de"], False),
        ([b"de"], [b"DE"], False),
    ],
)
def test_selects(a, b, equal):
    first = key(*((b"accept-language", value) for value in a), (b"cookie", b"ann"))
    second = key(*((b"accept-language", value) for value in b), (b"cookie", b"bob"))
    assert selects(frozenset({b"accept-language"}), first, second) is equal
    assert selects(frozenset(), first, second)
    assert not selects(frozenset({b"cookie"}), first, second)


@pytest.mark.parametrize(
    ("name", "together"),
    [
        (b"cookie", True),
        (b"authorization", True),
        (b"x-api-key", True),
        (b"x-forwarded-user", True),
        (b"x-auth-request-email", True),
        (b"accept", True),
        (b"accept-language", True),
        (b"x-forwarded-host", False),
        (b"x-forwarded-proto", False),
        (b"x-forwarded-prefix", False),
        (b"x-original-url", False),
        (b"x-http-method-override", False),
        (b"origin", False),
        (b"x-anything", False),
    ],
)
def test_watchers_share_where_they_differ_in_who_asks_or_what_is_negotiated_only(name, together):
    for other in (key(), key((name, b"b")), key((name, b"a"), (name, b"a"))):
        assert shares(frozenset(), key((name, b"a")), other) is together
        assert shares(frozenset(), other, key((name, b"a"))) is together
    assert shares(frozenset(), key((name, b"a")), key((name, b"a")))
    assert not shares(frozenset({name}), key((name, b"a")), key((name, b"b")))


@pytest.mark.parametrize(
    "part",
    [
        {"scheme": "https"},
        {"authority": "b"},
        {"target": "/a?x=1"},
        {"root_path": "/a"},
        {"server": ("a", 1)},
        {"client": ("10.0.0.1", 0)},
        {"tls": ((), "CN=ann", None)},
    ],
)
def test_one_response_never_answers_for_another_resource(part):
    assert not selects(frozenset(), key(), key(**part))


def test_a_response_that_varies_by_a_neutral_field_is_one_for_all():
    def of(agent):
        given = {
            "type": "http",
            "path": "/a",
            "headers": [(b"user-agent", agent), (b"accept-encoding", agent)],
        }
        return request_key(given, Neutral())

    assert selects(frozenset({b"user-agent", b"accept-encoding"}), of(b"a"), of(b"b"))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        (b"authorization", True),
        (b"cookie", True),
        (b"proxy-authorization", True),
        (b"x-api-key", True),
        (b"x-forwarded-user", True),
        (b"x-anything", True),
        (b"host", False),
        (b"user-agent", False),
        (b"accept", False),
        (b"accept-language", False),
        (b"origin", False),
        (b"content-type", False),
        (b"if-none-match", False),
        (b"x-forwarded-for", False),
        (b"x-forwarded-proto", False),
        (b"sec-fetch-site", False),
        (b"traceparent", False),
        (b"range", False),
    ],
)
def test_credentials_are_all_that_is_not_known_to_be_harmless(name, counts):
    assert has_credentials({b"host", name}) is counts


def test_what_is_told_at_once_to_be_harmless_is():
    assert all(map(is_harmless, HARMLESS))


@given(st.sets(st.sampled_from([*sorted(HARMLESS), b"cookie", b"x-b3-traceid", b"x-mine", b"authorization"])))
def test_credentials_are_found_among_any_others(names):
    assert has_credentials(names) is any(not is_harmless(name) for name in names)


ANN = {b"host", b"cookie"}
ANYBODY = {b"host", b"accept"}


@pytest.mark.parametrize(
    ("request_names", "names", "private"),
    [
        (ANN, {b"content-type"}, True),
        (ANYBODY, {b"content-type"}, False),
        (ANYBODY, {b"content-type", b"set-cookie"}, True),
        (ANN, {b"cache-control"}, False),
        (ANN, {b"expires"}, False),
        (ANN, {b"vary", b"etag"}, True),
        (ANN, set(), True),
    ],
)
def test_private_by_default(request_names, names, private):
    assert private_by_default(request_names, names) is private
