"""What a request has changed (design 2.2; RFC 9111, 4.4; RFC 9875), and its announcement."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.http.invalidation import (
    Change,
    cache_groups,
    changed_by,
    decode,
    encode,
    invalidated_groups,
    is_safe,
)


def changes(
    method="PUT",
    target="/orders/3",
    status=200,
    fields=(),
    *,
    authority="shop.test",
    scheme="http",
    **options,
):
    return changed_by(
        method, target, authority, scheme, status, tuple(fields), **{"ancestors": False, **options}
    )


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH"]
)
def test_safe_methods_change_nothing(method):
    assert is_safe(method)
    assert changes(method, fields=[(b"cache-group-invalidation", b'"a"'), (b"location", b"/b")]) == ()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "MKCOL", "BREW", "get", ""])
def test_all_other_methods_do(method):
    assert not is_safe(method)
    assert changes(method)


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (None, True),
        *((status, True) for status in (200, 201, 202, 204, 206, 301, 303, 304, 307, 399, 500, 503, 599)),
        *((status, False) for status in (100, 101, 199, 400, 401, 404, 409, 412, 428, 499)),
    ],
)
def test_by_status(status, counts):
    fields = [(b"cache-group-invalidation", b'"a"')]
    assert bool(changes(status=status, fields=fields)) is counts


def test_the_target_whatever_the_query():
    assert changes(target="/orders/3?notify=1") == (Change("/orders/3"),)


def test_ancestors_in_both_spellings_but_not_the_root():
    above = (Change("/api/orders/3"), Change("/api/orders/3/"), Change("/api/orders"), Change("/api/orders/"))
    assert changes(target="/api/orders/3/lines", ancestors=True, root="/api") == (
        Change("/api/orders/3/lines"),
        *above,
    )
    assert changes(target="/orders", ancestors=True) == (Change("/orders"),)
    assert changes(target="/", ancestors=True) == (Change("/"),)


@pytest.mark.parametrize(
    ("target", "path"),
    [("/orders/3", "/orders/3"), ("/orders/3/", "/orders/3"), ("/orders/3?x", "/orders/3"), ("/", "/")],
)
def test_a_delete_changes_all_that_is_below(target, path):
    assert changes("DELETE", target) == (Change(path, below=True),)


@pytest.mark.parametrize("name", [b"location", b"content-location"])
@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("/orders/4", "/orders/4"),
        ("4", "/orders/4"),
        ("../users/1?x=1#y", "/users/1"),
        ("?x=1", None),
        ("http://shop.test/orders/4", "/orders/4"),
        ("HTTP://SHOP.test:80/orders/4", "/orders/4"),
        ("//shop.test/orders/4", "/orders/4"),
        ("http://shop.test", "/"),
        ("http://shop.test?x=1", "/"),
        ("/a/../%62", "/b"),
        ("https://shop.test/orders/4", "/orders/4"),  # the proxy ends TLS: only the authority is ours to know
        ("http://evil.test/orders/4", None),
        ("//evil.test/orders/4", None),
        ("http://shop.test.evil.test/a", None),
        ("http://shop.test:8000/a", None),
        ("http://shop.test@evil.test/a", None),
        ("http://[bad/a", None),
        ("ftp://shop.test/a", None),
        ("mailto:ann@shop.test", None),
        ("/a\\b", None),
        ("/a\0", None),
        ("/%zz", None),
        ("http://shop.test//evil", None),
        ("", None),
        ("#x", None),
    ],
)
def test_locations_of_the_same_origin(name, reference, path):
    found = changes(fields=[(name, reference.encode())])
    assert found == (Change("/orders/3"), *([Change(path)] if path else []))


def test_nothing_is_named_twice():
    fields = [(b"location", b"/orders/4"), (b"content-location", b"/orders/4")]
    assert changes(fields=fields) == (Change("/orders/3"), Change("/orders/4"))
    assert changes(fields=[(b"location", b"/orders/3")]) == (Change("/orders/3"),)


def test_groups_are_changed_with_the_target():
    assert changes(fields=[(b"cache-group-invalidation", b'"b", "a";x')]) == (
        Change("/orders/3"),
        Change(group="a"),
        Change(group="b"),
    )


@pytest.mark.parametrize(
    ("lines", "groups"),
    [
        ([], set()),
        ([""], set()),
        (['"a"'], {"a"}),
        (['"a", "b"', '"c"'], {"a", "b", "c"}),
        (['  "a" ,\t"b"  '], {"a", "b"}),
        ([r'"a\"b\\c, d"'], {r'a"b\c, d'}),
        (['"a";x=1;y;z="q,\\"r"; w=?1, "b"'], {"a", "b"}),
        (['"", "a"'], {"a"}),
        # malformed: the whole field is ignored (RFC 9651, 4.2)
        (["a"], set()),
        (['"a", b'], set()),
        (['"a",'], set()),
        ([',"a"'], set()),
        (['"a" "b"'], set()),
        (['"a'], set()),
        (['"a\\x"'], set()),
        (['"é"'], set()),
        (['"a";'], set()),
        (['"a";X'], set()),
        (['("a" "b")'], set()),
        (["1"], set()),
    ],
)
def test_cache_groups(lines, groups):
    for name, parse in ((b"cache-groups", cache_groups), (b"cache-group-invalidation", invalidated_groups)):
        assert parse(tuple((name, line.encode("latin-1")) for line in lines)) == groups


printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)


@given(st.sets(printable, max_size=5))
def test_groups_come_back(names):
    quoted = ['"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names]
    assert cache_groups(((b"cache-groups", ", ".join(quoted).encode()),)) == names - {""}


@pytest.mark.parametrize(
    "value", ['"a",' * 50_000, '"a";' * 50_000, '"' * 100_000, '"a"' + ";x=1" * 50_000 + " !"]
)
def test_hostile_groups_are_linear(value):
    assert cache_groups(((b"cache-groups", value.encode()),)) == frozenset()


paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="?"), max_size=20).map(
    "/{}".format
)
some = st.builds(Change, path=paths, below=st.booleans()) | st.builds(
    Change, group=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
)


@settings(max_examples=200)
@given(st.lists(some, max_size=8))
def test_an_announcement_says_what_changed(many):
    assert decode(encode(many)) == tuple(many)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b"[[]]",
        b'[["/a"]]',
        b'[["/a", 1, ""]]',
        b'[["/a", true, "", 1]]',
        b'[["/a", false, "g"]]',
        b'[["", false, ""]]',
        b'[["", true, "g"]]',
        b'[["a", false, ""]]',
        b'[["/a?x", false, ""]]',
        b'[["/' + b"a" * 9000 + b'", false, ""]]',
        b'[["/a", false, ""]',
        b'[["\xff", false, ""]]',
        b"[" * 100_000,
        b"\x80\x04pickle",
        b"[" + b" " * 5_000_000 + b"]",
    ],
)
def test_nonsense_is_no_announcement(payload):
    with pytest.raises(ValueError, match="announcement"):
        decode(payload)


@given(st.binary(max_size=60))
def test_no_bytes_break_the_announcement(payload):
    try:
        found = decode(payload)
    except ValueError:
        return
    assert decode(encode(found)) == found
