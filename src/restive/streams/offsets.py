"""Offsets as clients give them, and what is wrong with one (protocol section 8)."""

from __future__ import annotations

import re

from ..errors import Problem

__all__ = ["BEGINNING", "NOW", "START", "absent", "checked", "gone", "refused", "trimmed"]

BEGINNING, NOW = "-1", "now"
"""What clients say for the oldest item that is kept, and for the end."""

START = "0"
"""The offset before the first item of a stream that is not there yet. It sorts before all others."""

OFFSET = re.compile(r"[A-Za-z0-9_.~:-]{1,255}", re.ASCII)


def checked(given: str) -> str:
    """The offset as the log takes it: "" for the beginning, else as it is. Raises ``Problem`` (400)."""
    if given == BEGINNING:
        return ""
    if OFFSET.fullmatch(given) is None:
        raise refused("It is not one that a server gives.")
    return given


def refused(why: str) -> Problem:
    """What is answered to an offset that is not the stream's own."""
    detail = f"{why} Take the offset from Stream-Next-Offset of this stream, or begin again at -1."
    return Problem(400, "Not an offset of this stream", detail)


def trimmed() -> Problem:
    """What is answered to an offset behind which items were dropped."""
    detail = "Items behind this offset are kept no more. Begin at -1 for the oldest that are."
    return Problem(410, "The offset is too old", detail)


def gone() -> Problem:
    """What followers of a stream are told that has ended its life."""
    detail = "It was deleted, or its time was over. What comes there next is another stream: begin at -1."
    return Problem(410, "The stream is gone", detail)


def absent() -> Problem:
    """What is answered where there is no stream."""
    return Problem(404, "There is no such stream")
