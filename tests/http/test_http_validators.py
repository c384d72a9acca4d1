"""Entity tags, conditions, codings and what a 304 has (RFC 9110, 8.8.3, 13.1, 15.4.5)."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.http import validators as v

opaque = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"', exclude_categories=["Cc"])
)
tags = st.builds('{}"{}"'.format, st.sampled_from(["", "W/"]), opaque)


def test_a_made_tag_is_strong_and_known_again():
    tag = v.make_tag(b"body")
    assert v.valid(tag)
    assert v.made(tag)
    assert v.made(v.weaken(tag))
    assert not tag.startswith("W/")
    assert tag == v.make_tag(b"body") != v.make_tag(b"other")


@pytest.mark.parametrize(
    "tag", ["", '"r-"', '"r-abc"', '"abc"', "*", v.make_tag(b"")[1:-1], v.make_tag(b"") + "\n"]
)
def test_other_tags_were_not_made_here(tag):
    assert not v.made(tag)


@pytest.mark.parametrize(
    ("tag", "ok"),
    [
        ('""', True),
        ('"a,b"', True),
        ('"a\\"', True),
        ('"é"', True),
        ('W/""', True),
        ('w/"a"', False),
        ("a", False),
        ("", False),
        ("*", False),
        ('"a', False),
        ('"a"b"', False),
        ('"a b"', False),
        ('"a\r\n"', False),
        ('"a"\n', False),
        ('"a\0"', False),
        ('"€"', False),
    ],
)
def test_valid(tag, ok):
    assert v.valid(tag) is ok


@given(tags)
def test_weak_comparison(tag):
    assert v.same(tag, v.weaken(tag))
    assert v.weaken(v.weaken(tag)) == v.weaken(tag)
    assert not v.same(tag, '"other one"')


@given(st.lists(tags, max_size=5), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_a_list_of_tags_comes_back(many, comma):
    assert v.parse_tags(comma.join(many)) == many
    assert all(v.none_match(comma.join(many), v.weaken(tag)) for tag in many)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("*", None),
        (" * ", None),
        ("", []),
        ("abc", []),
        ('abc, "d"', ['"d"']),
        ('"a"b, "c"', ['"c"']),
        ('"a" "b"', []),
        ('"never ends, "b"', ['"b"']),
        ('"never,ends', []),
        ('W/ "a"', []),
        ('"a", *', ['"a"']),
    ],
)
def test_malformed_tags_are_left_out(value, found):
    assert v.parse_tags(value) == found


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        ("*", True),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ('"b"', False),
        ("", False),
        ("a", False),
    ],
)
def test_none_match(value, matches):
    assert v.none_match(value, 'W/"a"') is matches


OURS = v.make_tag(b"1")


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (OURS, True),
        (f"{OURS}, W/{OURS}", True),
        (f'{OURS}, "theirs"', False),
        (f"{OURS}, nonsense", False),
        (f"{OURS}, *", False),
        ('"theirs"', False),
        ("*", False),
        ("", False),
        (",", False),
    ],
)
def test_if_match_is_ours_where_it_names_nothing_else(value, ours):
    assert v.if_match_is_ours(value) is ours


@pytest.mark.parametrize(
    "value", ['"' * 100_000, '"a",' * 50_000, "," * 200_000, '"a"b' * 50_000, '"a" ' * 50_000]
)
def test_hostile_conditions_are_linear(value):
    assert v.if_match_is_ours(value) is False


TEXT = b'{"n": 1}' * 50


def bare(data):
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (TEXT, None),
        (TEXT, ""),
        (TEXT, "identity"),
        (gzip.compress(TEXT, mtime=0), "gzip"),
        (gzip.compress(TEXT, mtime=0), " GZip "),
        (gzip.compress(TEXT, mtime=0), "x-gzip"),
        (gzip.compress(TEXT[:100], mtime=0) + gzip.compress(TEXT[100:], mtime=0), "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (bare(TEXT), "deflate"),
        (gzip.compress(zlib.compress(TEXT), mtime=0), "deflate, gzip"),
    ],
)
def test_decoded(body, coding):
    assert v.decoded(body, coding) == TEXT


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (TEXT, "br"),
        (TEXT, "gzip"),
        (TEXT, "deflate"),
        (gzip.compress(TEXT, mtime=0)[:-1], "gzip"),
        (gzip.compress(TEXT, mtime=0)[:20], "gzip"),
        (gzip.compress(TEXT, mtime=0) + b"rest", "gzip"),
        (gzip.compress(TEXT, mtime=0), "br, gzip"),
        (TEXT, "identity, identity, identity, identity"),
        (gzip.compress(b"", mtime=0) * 1000, "gzip"),
    ],
)
def test_what_cannot_be_decoded(body, coding):
    assert v.decoded(body, coding) is None


@pytest.mark.parametrize(
    ("pack", "coding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate"), (bytes, None)]
)
def test_decoding_is_bounded(pack, coding):
    assert v.decoded(pack(bytes(1000)), coding, 1000) == bytes(1000)
    assert v.decoded(pack(bytes(1001)), coding, 1000) is None
    assert v.decoded(pack(bytes(10_000_000)), coding, 1000) is None


def test_a_304_has_what_is_about_the_response():
    kept = (
        (b"etag", b'"a"'),
        (b"date", b"x"),
        (b"vary", b"accept"),
        (b"cache-control", b"no-cache"),
        (b"content-location", b"/a"),
        (b"expires", b"x"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"access-control-allow-origin", b"https://a.test"),
        (b"content-security-policy", b"default-src 'self'"),
        (b"link", b'</-/live>; rel="monitor"'),
    )
    gone = tuple(
        (name, b"x")
        for name in (
            b"content-type",
            b"content-length",
            b"content-encoding",
            b"transfer-encoding",
            b"last-modified",
        )
    )
    assert v.not_modified_fields(kept[:3] + gone + kept[3:]) == kept
