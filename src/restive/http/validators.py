"""Entity tags (RFC 9110, 8.8.3) and the conditions that name them (13.1).

Tags are text as in the header: ``"abc"`` or ``W/"abc"``. Those that Restive makes begin with
``r-``, so that it knows them again; all comparisons are weak (8.8.3.2).
"""

from __future__ import annotations

import re
import zlib
from binascii import b2a_base64
from collections.abc import Iterable
from hashlib import blake2b

from .fields import Fields, split_list

__all__ = [
    "decoded",
    "if_match_is_ours",
    "made",
    "make_tag",
    "none_match",
    "not_modified_fields",
    "parse_tags",
    "same",
    "tag_field",
    "valid",
    "weaken",
]

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"')
_MADE = re.compile(r'(?:W/)?"r-[A-Za-z0-9_-]{22}"')
_END = re.compile(r"[ \t]*+(?:,|\Z)")
_EMPTY = blake2b(digest_size=16)  # to be copied, which takes less than to make one
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_MAX_CODINGS = 3
_MAX_MEMBERS = 100  # of one gzip body (RFC 1952, 2.2)

# Metadata of the content that a 304 does not have; it keeps what RFC 9110, 15.4.5 asks for and
# all that is about the response: CORS, Set-Cookie, Content-Security-Policy, …
_OF_THE_CONTENT = frozenset(
    {
        b"accept-ranges",
        b"content-digest",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"digest",
        b"last-modified",
        b"repr-digest",
        b"trailer",
        b"transfer-encoding",
    }
)


def make_tag(body: bytes) -> str:
    """A strong tag of ``body``: 128 bits of its hash."""
    return tag_field(body).decode()


def tag_field(body: bytes) -> bytes:
    """The same as the value of a field."""
    state = _EMPTY.copy()
    state.update(body)
    return b'"r-%b"' % b2a_base64(state.digest(), newline=False)[:22].translate(_URL_SAFE)


def made(tag: str) -> bool:
    """Whether ``tag``, strong or weak, looks like one of ``make_tag``."""
    return _MADE.fullmatch(tag) is not None


def weaken(tag: str) -> str:
    """The weak form of ``tag``."""
    return tag if tag.startswith("W/") else f"W/{tag}"


def valid(tag: str) -> bool:
    """Whether ``tag`` is an entity tag in its syntax; ``W/`` is case-sensitive, nothing is escaped."""
    return _TAG.fullmatch(tag) is not None


def same(a: str, b: str) -> bool:
    """Weak comparison (RFC 9110, 8.8.3.2)."""
    return a.removeprefix("W/") == b.removeprefix("W/")


def parse_tags(value: str) -> list[str] | None:
    """The tags that an If-Match or If-None-Match names, malformed ones left out; None for ``*``."""
    return None if value.strip() == "*" else _scan(value)[0]


def none_match(value: str, tag: str) -> bool:
    """Whether the If-None-Match ``value`` names ``tag``, so that the answer is a 304 (or 412)."""
    tags = parse_tags(value)
    return tags is None or any(same(named, tag) for named in tags)


def if_match_is_ours(value: str) -> bool:
    """Whether the If-Match ``value`` names tags that Restive made and nothing else (so not ``*``)."""
    tags, whole = _scan(value)
    return whole and bool(tags) and all(made(tag) for tag in tags)


def decoded(body: bytes, content_encoding: str | None, limit: int = 1_048_576) -> bytes | None:
    """The content of ``body`` without its codings: gzip, deflate, identity, or a list of them.

    None where a coding is another one, where the body breaks it, or where what comes out of it has
    more than ``limit`` bytes.
    """
    codings = split_list((content_encoding or "").lower())
    if len(codings) > _MAX_CODINGS:
        return None
    content: bytes | None = body
    for coding in reversed(codings):
        if content is None:
            return None
        if coding in {"gzip", "x-gzip"}:
            content = _inflate(content, 31, limit)
        elif coding == "deflate":  # RFC 9110, 8.4.1.2: zlib's format; some send the bare one
            plain = _inflate(content, 15, limit)
            content = _inflate(content, -15, limit) if plain is None else plain
        elif coding != "identity":
            return None
    return content if content is not None and len(content) <= limit else None


def not_modified_fields(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The fields of the 304 that stands for a 200 with ``fields`` (RFC 9110, 15.4.5)."""
    return tuple([field for field in fields if field[0] not in _OF_THE_CONTENT])


def _scan(value: str) -> tuple[list[str], bool]:
    """The tags in ``value`` and whether there was nothing else; a quoted comma separates nothing."""
    tags: list[str] = []
    whole = True
    at = 0
    while at < len(value):
        if value[at] in ", \t":
            at += 1
            continue
        tag = _TAG.match(value, at)
        end = _END.match(value, tag.end()) if tag else None
        if tag and end:
            tags.append(tag[0])
            at = end.end()
            continue
        whole = False
        comma = value.find(",", at)
        at = len(value) if comma < 0 else comma + 1
    return tags, whole


def _inflate(data: bytes, window: int, limit: int) -> bytes | None:
    whole = bytearray()
    try:
        for _ in range(_MAX_MEMBERS):
            if not data:
                return bytes(whole)
            machine = zlib.decompressobj(window)
            whole += machine.decompress(data, limit + 1 - len(whole))
            if not machine.eof or len(whole) > limit:
                return None
            data = machine.unused_data
            if window != 31 and data:
                return None
    except zlib.error:
        pass
    return None
