"""Fields, lists and media types (RFC 9110, 5 and 8.3)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.http import fields as f

SENT: f.Fields = ((b"vary", b"Accept"), (b"etag", b'"a"'), (b"vary", b"Origin"), (b"x", b"\xe9"))


def test_lines_of_one_name_are_joined_and_absence_is_none():
    assert f.get(SENT, b"vary") == "Accept, Origin"
    assert f.get(SENT, b"etag") == '"a"'
    assert f.get(SENT, b"x") == "é"
    assert f.get(SENT, b"age") is None
    assert f.get_all(SENT, b"vary") == ["Accept", "Origin"]
    assert f.get_all(SENT, b"age") == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"vary", b"Vary", b"etag", b"ETag", b"x"]).flatmap(
                lambda name: st.sampled_from([name, bytearray(name)])
            ),
            st.sampled_from([b"a", b"B"]),
        ),
        max_size=3,
    )
)
def test_what_is_remembered_of_names_changes_nothing(headers):
    fields, values = f.named(headers)
    assert tuple(fields) == f.lowered(headers)
    assert values == dict(f.lowered(headers))


def test_an_apps_own_list_stays_as_it_is():
    headers = [(b"content-type", b"text/plain")]
    for _ in range(2):
        f.named(headers)[0].append((b"link", b"x"))
    assert headers == [(b"content-type", b"text/plain")]


def test_what_is_remembered_of_names_is_bounded(monkeypatch):
    monkeypatch.setattr(f, "_lower", set())
    for n in range(f._MAX_LOWER + 10):
        f.named([(b"x-%d" % n, b"")])
    assert len(f._lower) <= f._MAX_LOWER
    assert f.named([(b"X-Late", b"")])[1] == {b"x-late": b""}


def test_without_keeps_the_order_of_the_rest():
    assert f.without(SENT, {b"vary", b"none"}) == ((b"etag", b'"a"'), (b"x", b"\xe9"))


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("", []),
        (" , ,\t,", []),
        ("a", ["a"]),
        ("a,b , c", ["a", "b", "c"]),
        ('a="1,2", b', ['a="1,2"', "b"]),
        (r'a="1\",2", b', [r'a="1\",2"', "b"]),
        (r'"\\", b', [r'"\\"', "b"]),
        ('a, "never ends, b', ["a", '"never ends, b']),
        ('a, "ends in a backslash\\', ["a", '"ends in a backslash\\']),
        ('"a""b",c', ['"a""b"', "c"]),
    ],
)
def test_lists_are_split_outside_of_quoted_strings(value, elements):
    assert f.split_list(value) == elements


def test_parameters_are_split_outside_of_quoted_strings():
    assert f.split_parameters('text/html; a=";" ;q=0.5;') == ["text/html", 'a=";"', "q=0.5"]


@given(st.lists(st.text(alphabet='ab=;\\" \t', min_size=0, max_size=8), max_size=6))
def test_what_was_quoted_comes_back_from_a_list(texts):
    quoted = ['"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts]
    assert [f.unquote_string(element) for element in f.split_list(", ".join(quoted))] == texts


@pytest.mark.parametrize("value", ['"' * 200_000, '"\\' * 100_000, "," * 200_000, '",' * 100_000])
def test_hostile_lists_are_split_without_backtracking(value):
    assert len(f.split_list(value)) <= len(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, ""),
        ("", ""),
        ("Application/JSON; charset=utf-8", "application/json"),
        (" text/html ", "text/html"),
        ("text", ""),
        ("text/", ""),
        ("/html", ""),
        ("text/html, text/plain", ""),
        ("text/html\r\nx: y", ""),
        ("a/b/c", ""),
    ],
)
def test_media_type(value, found):
    assert f.media_type(value) == found


@pytest.mark.parametrize(
    ("value", "patterns", "matches"),
    [
        ("application/json", ["application/json"], True),
        ("Application/Problem+JSON;x=y", ["application/*+json"], True),
        ("application/json", ["application/*+json"], False),
        ("text/csv", ["Text/*"], True),
        ("text/csv", [], False),
        ("textual/csv", ["text/*"], False),
        (None, ["*/*"], False),
        ("nonsense", ["*"], False),
        ("image/png", ["*/*"], True),
    ],
)
def test_media_matches(value, patterns, matches):
    assert f.media_matches(value, patterns) is matches


@pytest.mark.parametrize(
    ("name", "ok"),
    [("x-a", True), ("X_A!", True), ("", False), ("a b", False), ("a:", False), ("a\n", False), ("é", False)],
)
def test_field_names_are_tokens(name, ok):
    assert f.is_field_name(name) is ok


@pytest.mark.parametrize(
    ("value", "ok"),
    [
        ("", True),
        ("a", True),
        ("a b\tc", True),
        ("é", True),
        ("€", False),
        (" a", False),
        ("a ", False),
        ("a\n", False),
        ("a\r\nb: c", False),
        ("a\x00", False),
        ("a\x7f", False),
        ("\x1b[31m", False),
        ("a\x85b", True),
    ],
)
def test_field_values_have_no_controls(value, ok):
    assert f.is_field_value(value) is ok


@settings(max_examples=200)
@given(st.text(max_size=20))
def test_a_valid_value_can_be_written_on_one_line(value):
    if f.is_field_value(value):
        assert not {"\r", "\n", "\0"} & set(value)
        assert value.encode("latin-1").decode("latin-1") == value == value.strip(" \t")
