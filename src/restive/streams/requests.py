"""What the fields and the query of a request to a stream say (protocol section 5), as values.

Pure. What is malformed raises ``Problem`` 400 with what was expected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import parse_qsl

from ..errors import Problem
from ..http.fields import Fields, get
from .items import Producer
from .offsets import BEGINNING, refused

__all__ = ["Reading", "closes", "expiry", "producer", "reading", "rfc3339", "sequence"]

LONGEST = 256
"""Characters of a Producer-Id and of a Stream-Seq."""

MOST_PARAMETERS = 100
MOST_SAFE = 2**53 - 1
MOST_TTL = 10**12

_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a GET asks for. ``offset`` is as the client wrote it, "-1" where it wrote none."""

    offset: str
    live: Literal["", "long-poll"]
    cursor: str | None
    wait: float | None = None
    """Seconds that a long poll may take, where the client says so."""


def reading(query: bytes) -> Reading:
    """What the query of a GET asks for; what it does not know it leaves alone."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise Problem(400, "Malformed query") from None
    offsets = [value for name, value in pairs if name == "offset"]
    modes = {value for name, value in pairs if name == "live"}
    cursors = [value for name, value in pairs if name == "cursor"]
    if len(offsets) > 1:
        raise refused("It is given more than once.")
    if not modes:
        return Reading(offsets[0] if offsets else BEGINNING, "", None)
    if modes != {"long-poll"}:
        raise Problem(400, "No such live mode", "Say live=long-poll or live=sse.")
    if not offsets:
        raise Problem(400, "No offset", "A live read says where it begins: offset=-1 or now, or an offset.")
    waits = [float(value) for name, value in pairs if name == "timeout" and _SECONDS.fullmatch(value)]
    return Reading(offsets[0], "long-poll", cursors[-1] if cursors else None, waits[-1] if waits else None)


def closes(fields: Fields) -> bool:
    """Whether Stream-Closed is ``true``; anything else counts as not there (section 4.1)."""
    return (get(fields, b"stream-closed") or "").lower() == "true"


def sequence(fields: Fields) -> str | None:
    """Stream-Seq."""
    given = get(fields, b"stream-seq")
    if given is not None and not 1 <= len(given) <= LONGEST:
        raise Problem(400, "Malformed Stream-Seq", f"It has 1 to {LONGEST} characters.")
    return given


def producer(fields: Fields) -> Producer | None:
    """The three producer fields, which come together or not at all (section 5.2.1)."""
    found = [get(fields, name) for name in (b"producer-id", b"producer-epoch", b"producer-seq")]
    if found == [None, None, None]:
        return None
    name, epoch, seq = found
    if name is None or epoch is None or seq is None:
        raise _producer("Producer-Id, Producer-Epoch and Producer-Seq come together or not at all.")
    if not 1 <= len(name) <= LONGEST:
        raise _producer(f"A Producer-Id has 1 to {LONGEST} characters.")
    return Producer(name, _integer("Producer-Epoch", epoch), _integer("Producer-Seq", seq))


def _integer(name: str, given: str) -> int:
    if _DIGITS.fullmatch(given) is None or int(given) > MOST_SAFE:
        raise _producer(f"{name} is a whole number from 0 to 2^53-1.")
    return int(given)


def _producer(detail: str) -> Problem:
    return Problem(400, "Malformed producer", detail)


def expiry(fields: Fields) -> tuple[float | None, float | None]:
    """Stream-TTL (seconds) and Stream-Expires-At (Unix time) of a creation: at most one of them."""
    ttl, expires = get(fields, b"stream-ttl"), get(fields, b"stream-expires-at")
    if ttl is not None and expires is not None:
        raise Problem(400, "Two ends", "Give Stream-TTL or Stream-Expires-At, not both.")
    if ttl is not None and (_WHOLE.fullmatch(ttl) is None or int(ttl) > MOST_TTL):
        raise Problem(400, "Malformed Stream-TTL", "It is a whole number of seconds, without sign or zeros.")
    return None if ttl is None else float(ttl), None if expires is None else _instant(expires)


def _instant(given: str) -> float:
    try:
        if _TIME.fullmatch(given) is None:
            raise ValueError(given)
        instant = datetime.fromisoformat(given.upper()).timestamp()
        if instant < 0:
            raise ValueError(given)
    except (ValueError, OverflowError):
        raise Problem(400, "Malformed Stream-Expires-At", "It is a time as 2026-11-23T12:00:00Z.") from None
    return instant


def rfc3339(instant: float) -> str:
    """A Unix time as a timestamp."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
