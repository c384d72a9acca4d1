"""Spans of OpenTelemetry, where the app has set up an SDK; else nothing, at the price of a question.

OpenTelemetry is never imported here before: who has set up an SDK has imported it. A trace goes on elsewhere
by a carrier: the fields ``traceparent`` and ``tracestate`` (W3C Trace Context), which are stored with an
operation and sent with announcements, jobs and webhooks. Nothing else of a context is carried, since baggage
may hold what must not be stored.
"""

from __future__ import annotations

import contextvars
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

__all__ = [
    "NOTHING",
    "ROOT",
    "Carrier",
    "Span",
    "begin",
    "carried",
    "carrier",
    "cause",
    "checked",
    "current",
    "received",
    "span",
]

Carrier = Mapping[str, str]

NAME = "restive"
FIELDS = ("traceparent", "tracestate")
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"
)
_FIELDS = frozenset(name.encode() for name in FIELDS)
LONGEST = {"traceparent": 256, "tracestate": 512}
"""Characters of a field that is passed on (W3C Trace Context, section 3.3.1.5)."""

STATE = re.compile(r"[ -~\t]*")

Kind = Literal["internal", "producer", "consumer", "client"]


class Span:
    """A span, or nothing."""

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def event(self, name: str, /, **attributes: Any) -> None:
        """Something happened, now."""
        if self._span is not None:
            self._span.add_event(name, attributes)

    def set(self, **attributes: Any) -> None:
        """Say more of it; names as in ``begin``."""
        if self._span is not None:
            for name, value in attributes.items():
                self._span.set_attribute(name.replace("__", "."), value)

    def fail(self, why: str) -> None:
        """It was not what was wanted."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, why))

    def end(self) -> None:
        """It is over."""
        if self._span is not None:
            self._span.end()

    def context(self) -> contextvars.Context:
        """An empty context but for this span, under which others begin."""
        context = contextvars.Context()
        if self._span is not None:
            context.run(_attach, self._span)
        return context


NOTHING = Span()


def _api() -> Any:
    """``opentelemetry.trace``, where somebody has loaded it (FastAPI does) and set up an SDK."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return None
    return api


def _attach(span: Any) -> None:
    from opentelemetry import context, trace

    context.attach(trace.set_span_in_context(span))


def received(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str] | None:
    """The carrier in the header fields of a request, if there is a valid one."""
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields if name in _FIELDS}
    return checked(found)


def checked(found: Mapping[str, str] | None) -> dict[str, str] | None:
    """A carrier with what is valid in ``found``, which may come from anywhere."""
    parent, state = (found or {}).get("traceparent", ""), (found or {}).get("tracestate", "")
    if len(parent) > LONGEST["traceparent"] or not TRACEPARENT.fullmatch(parent):
        return None
    kept = {"traceparent": parent}
    if state and len(state) <= LONGEST["tracestate"] and STATE.fullmatch(state):
        kept["tracestate"] = state
    return kept


def carrier() -> dict[str, str] | None:
    """What carries the current span on; None where there is none."""
    if cause() is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(found)
    return found or None


def cause() -> Any:
    """What a later span may be linked to: the context of the current span; None where there is none."""
    api = _api()
    if api is None:
        return None
    found = api.get_current_span().get_span_context()
    return found if found.is_valid else None


def _context(parent: Carrier) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(parent, Context())


def _tracer(api: Any) -> Any:
    global _known  # noqa: PLW0603 - an SDK makes a new one for each who asks
    provider = api.get_tracer_provider()
    if _known is None or _known[0] is not provider:
        _known = provider, api.get_tracer(NAME)
    return _known[1]


_known: tuple[Any, Any] | None = None
ROOT: Carrier = {}
"""The parent of what begins a trace of its own."""


def begin(
    name: str, kind: Kind, parent: Carrier | None = None, *, link: Any = None, **attributes: Any
) -> Span:
    """A span that begins now: below ``parent``, else below the current one; to be ended by ``Span.end``.

    ``link`` is what ``cause`` gave. In the name of an attribute two underscores stand for a dot.
    """
    api = _api()
    if api is None:
        return NOTHING
    said = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
    links = () if link is None else (api.Link(link),)
    context = None if parent is None else _context(parent)
    return Span(_tracer(api).start_span(name, context, api.SpanKind[kind.upper()], said, links))


@contextmanager
def span(name: str, kind: Kind, parent: Carrier | None = None, **attributes: Any) -> Iterator[Span]:
    """As ``begin``, and current until the block is left."""
    begun = begin(name, kind, parent, **attributes)
    with current(begun):
        try:
            yield begun
        except BaseException as error:
            begun.fail(type(error).__name__)
            raise
        finally:
            begun.end()


@contextmanager
def current(span: Span) -> Iterator[None]:
    """``span`` is the current one until the block is left."""
    own = span._span  # noqa: SLF001 - its module's
    if own is None:
        yield
        return
    from opentelemetry import context, trace

    token = context.attach(trace.set_span_in_context(own))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def carried(parent: Carrier | None) -> Iterator[None]:
    """What begins in the block is part of the trace that ``parent`` carries."""
    if parent is None or _api() is None:
        yield
        return
    from opentelemetry import context

    token = context.attach(_context(parent))
    try:
        yield
    finally:
        context.detach(token)
