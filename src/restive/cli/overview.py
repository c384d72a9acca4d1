"""Operations for people: many as a table with a row for each, or one with all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .exits import printable
from .wording import age, amount, bar, date_of, duration, gist, headline, one_line, pace, size_of, waiting

if TYPE_CHECKING:
    from ..client import OperationState, Part

__all__ = ["description", "table"]

HEADINGS = ("id", "status", "attempt", "created", "progress")
WIDTHS = (36, 9, 7, 10)
"""Columns of all but the last."""

LEAST = 10
"""Columns that the last one has on any terminal."""

LINES = 20
"""Lines of a result that are shown."""

NAMES = 10
"""Columns of the names in a description."""


def table(documents: Sequence[OperationState], now: datetime, width: int | None) -> Iterator[str]:
    """A heading, and a line for each. What is longer than ``width`` columns is cut, if possible."""
    yield _aligned(HEADINGS, None)
    for document in documents:
        yield _aligned(list(_row(document, now)), width)


def _aligned(cells: Sequence[str], width: int | None) -> str:
    *short, last = cells
    begin = "".join(f"{cell:<{length}}  " for cell, length in zip(short, WIDTHS, strict=True))
    room = None if width is None else max(LEAST, width - len(begin))
    if room is not None and len(last) > room:
        last = f"{last[: room - 1]}…"
    return f"{begin}{last}".rstrip()


def _row(document: OperationState, now: datetime) -> Iterator[str]:
    yield printable(str(document.get("id") or document.url))
    yield printable(str(document["status"]))
    yield str(document.get("attempt") or "")
    yield _age(document.get("created"), now)
    yield gist(document, now)


def description(document: OperationState, parts: Sequence[Part], now: datetime) -> str:
    """All of one operation: what there is to say of it, each under its name."""
    named = ((name, text) for name, text in _lines(document, parts, now) if text)
    return "\n".join(f"{name:<{NAMES}}" + text.replace("\n", "\n" + " " * NAMES) for name, text in named)


def _lines(document: OperationState, parts: Sequence[Part], now: datetime) -> Iterator[tuple[str, str]]:
    progress = document["progress"]
    yield "url", printable(document.url)
    yield "status", headline(document)
    yield from _dates(document, now)
    yield "queue", waiting(document.queue, now)
    if progress.get("total") or progress.get("completed"):
        counted = f"{bar(progress)} {amount(progress)}".strip()
        left = pace(progress) if document["status"] == "running" else ""
        yield "progress", ", ".join(filter(None, [counted, left]))
    yield "message", printable(progress.get("message") or "")
    for part in parts:
        yield "part", f"{printable(part.url)} ({size_of(part.size)}, {one_line(part.type)})"
    yield from _outcome(document)


def _dates(document: OperationState, now: datetime) -> Iterator[tuple[str, str]]:
    for name in ("created", "started", "finished"):
        if document.get(name):
            yield name, f"{printable(str(document[name]))}, {_age(document[name], now)}"
    started, finished = date_of(document.get("started")), date_of(document.get("finished"))
    if started and finished:
        yield "took", duration((finished - started).total_seconds())


def _outcome(document: OperationState) -> Iterator[tuple[str, str]]:
    error = document.get("error")
    if isinstance(error, dict):
        said = ": ".join(filter(None, [error.get("title"), error.get("detail")]))
        yield "error", printable(said)
        yield "type", printable(str(error.get("type") or ""))
    elif document.get("result") is not None:
        yield "result", _laid_out(document["result"])
    elif document["status"] == "succeeded":
        links = document.get("links") or {}
        yield "result", f"null, or long: see {printable(str(links.get('result') or ''))}"


def _laid_out(value: Any) -> str:
    lines = json.dumps(value, ensure_ascii=False, indent=2).splitlines()
    if len(lines) > LINES:
        lines = [*lines[:LINES], f"and {len(lines) - LINES} lines more"]
    return printable("\n".join(lines))


def _age(text: object, now: datetime) -> str:
    found = date_of(text)
    return "" if found is None else age((now - found).total_seconds())
