"""What a rendering keeps: no bytes twice, no form before its second use, no field that no answer repeats."""

from __future__ import annotations

import pytest

from restive.hub.rendering import Rendering

JSON = (b"content-type", b"application/json")


def test_a_form_is_kept_from_its_second_use_on() -> None:
    made: list[str] = []

    def one(_rendering: Rendering, on: str) -> bytes:
        made.append(f"one {on}")
        return b"1" * 1000

    def other(_rendering: Rendering, on: str) -> bytes:
        made.append(f"other {on}")
        return b"2" * 1000

    rendering = Rendering(200, (JSON,), b"{}", '"a"')
    assert rendering.wire(one, "/a") == b"1" * 1000
    kept = rendering.wire(one, "/a")
    assert rendering.wire(one, "/a") is kept
    assert rendering.wire(other, "/a") is rendering.wire(other, "/a")
    assert made == ["one /a", "one /a", "other /a"]


@pytest.mark.parametrize(("body", "kept"), [(b'{"a":1.0}', True), (b'{"a": 1.0}', False), (b"null", True)])
def test_a_body_that_is_compact_is_kept_once(body: bytes, kept: bool) -> None:
    rendering = Rendering(200, (JSON,), body, '"a"')
    assert rendering.compact == body.replace(b" ", b"")
    assert (rendering.compact is body) == kept


def test_equal_fields_are_one_object_without_those_of_one_response() -> None:
    own = [((b"etag", b'"%d"' % n), (b"date", b"now"), (b"content-length", b"2"), JSON) for n in range(2)]
    first, second = (Rendering(200, tuple(fields), b"{}", f'"{n}"') for n, fields in enumerate(own))
    assert first.fields == (JSON,)
    assert first.fields is second.fields


def test_text_is_told_as_what_its_charset_says() -> None:
    rendering = Rendering(200, ((b"content-type", b"text/plain; charset=latin-1"),), b"caf\xe9", '"a"')
    assert rendering.text == "café"
    assert "café".encode() in rendering.frame("/a")


def test_patches_are_of_json_only() -> None:
    one, other = (Rendering(200, (JSON,), b'{"n":%d,"x":"%b"}' % (n, b"x" * 200), f'"{n}"') for n in (1, 2))
    patched = other.patch("/a", one)
    assert patched is not None
    assert b"/n" in patched
    empty = Rendering(204, (), b"", '"c"')
    assert empty.compact == b"null"
    assert empty.patch("/a", one) is None
    assert one.patch("/a", empty) is None
