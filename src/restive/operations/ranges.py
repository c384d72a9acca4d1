"""Which bytes of a finished part a request asks for (RFC 9110, 13 and 14), as a pure function.

Only GET knows ranges (14.2). A Range that is malformed, of another unit, too long, or wasteful is ignored,
as 14.2 allows, and the whole part is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from ..errors import Problem
from ..http.validators import none_match, parse_tags

__all__ = ["Answer", "Span", "answer", "parse"]

MOST_RANGES = 32
LONGEST = 1024
"""Characters of a Range field."""

RANGE = re.compile(r"[ \t]*(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))[ \t]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from ``start`` to before ``end``, after ``head``, which is no part of them."""

    start: int
    end: int
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, its fields (beside those of the part), and what follows."""

    status: int
    fields: Mapping[str, str]
    spans: tuple[Span, ...] = ()
    tail: bytes = b""


def parse(value: str, size: int) -> list[tuple[int, int]] | None:
    """The ranges that are there, ends excluded; none where no range is; None where the field is ignored."""
    unit, _, ranges = value.partition("=")
    if unit.strip().lower() != "bytes" or len(value) > LONGEST or ranges.count(",") >= MOST_RANGES:
        return None
    found: list[tuple[int, int]] = []
    for each in ranges.split(","):
        if not each.strip(" \t"):  # RFC 9110, 5.6.1.2: empty elements count for nothing
            continue
        match = RANGE.fullmatch(each)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            start, end = max(0, size - int(suffix)), size
        else:
            start, end = int(first), size if last is None else min(size, int(last) + 1)
            if last is not None and int(last) < start:
                return None
        if start < end:
            found.append((start, end))
        elif suffix is not None and int(suffix) and not size:
            return None  # satisfiable (14.1.2), but no Content-Range can say it
    if not ranges.strip(" \t,"):
        return None
    return None if _wasteful(found) else found


def _wasteful(found: list[tuple[int, int]]) -> bool:
    """Whether ranges overlap, which no download needs and which multiplies what is sent (17.15)."""
    return any(before[1] > after[0] for before, after in pairwise(sorted(found)))


def answer(
    method: str, asked: Mapping[str, str], tag: str, size: int, media_type: str, boundary: str
) -> Answer:
    """What is answered to ``asked``, the request's fields by their lower-case names.

    The part has no modification date, so conditions by date are not evaluated (13.1.3, 13.1.4), and an
    If-Range with one is false. Raises ``Problem`` (412, 416).
    """
    match = asked.get("if-match")
    if match is not None and not _strongly(match, tag):
        raise Problem(412, detail="If-Match names another version of the part.", headers={"ETag": tag})
    known = asked.get("if-none-match")
    if known is not None and none_match(known, tag):
        return Answer(304, {})
    condition = asked.get("if-range")
    wanted = asked.get("range") if method == "GET" else None
    ranges = None
    if wanted is not None and (condition is None or condition.strip() == tag):
        ranges = parse(wanted, size)
    if ranges is None:
        return Answer(200, {"Content-Length": str(size), "Content-Type": media_type}, (Span(0, size),))
    if not ranges:
        headers = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
        raise Problem(416, detail=f"The part has {size} bytes.", headers=headers)
    if len(ranges) == 1:
        return _single(*ranges[0], size, media_type)
    return _multiple(ranges, size, media_type, boundary)


def _single(start: int, end: int, size: int, media_type: str) -> Answer:
    fields = {
        "Content-Range": f"bytes {start}-{end - 1}/{size}",
        "Content-Length": str(end - start),
        "Content-Type": media_type,
    }
    return Answer(206, fields, (Span(start, end),))


def _multiple(ranges: list[tuple[int, int]], size: int, media_type: str, boundary: str) -> Answer:
    """Several ranges as multipart/byteranges (14.6), in the order asked for."""
    spans = []
    for start, end in ranges:
        head = (
            f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\n"
            f"Content-Range: bytes {start}-{end - 1}/{size}\r\n\r\n"
        )
        spans.append(Span(start, end, head.encode("latin-1")))
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(span.head) + span.end - span.start for span in spans) + len(tail)
    fields = {
        "Content-Length": str(length),
        "Content-Type": f"multipart/byteranges; boundary={boundary}",
    }
    return Answer(206, fields, tuple(spans), tail)


def _strongly(value: str, tag: str) -> bool:
    """Whether an If-Match names ``tag`` by the strong comparison (RFC 9110, 13.1.1)."""
    tags = parse_tags(value)
    return tags is None or tag in tags
