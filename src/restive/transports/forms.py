"""How events are written on each kind of stream: bytes for a state, ``current``, the end, and silence."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..hub.rendering import Rendering
from ..hub.watch import Current, Event, State, Watch
from ..wire import messages, ndjson, sse

EMPTY = b"{}"


def chunk(data: bytes) -> bytes:
    """``data`` as one chunk of a body (RFC 9112, section 7.1); nothing where there is none."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class Form(Protocol):
    """One way to write events on a response that stays open."""

    media_type: bytes
    silence: bytes

    @staticmethod
    def chunk(rendering: Rendering, on: str) -> bytes:
        """The event of a state as one chunk of a body (RFC 9112, section 7.1)."""
        ...

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as bytes."""
        ...

    def retry(self, milliseconds: int) -> bytes:
        """Come back after this time."""
        ...


def frame(watch: Watch, event: Event) -> bytes:
    """``event`` as the socket's own object (design 4.3)."""
    if isinstance(event, State):
        if event.base is not None:
            patched = event.rendering.patch(watch.on, event.base)
            if patched is not None:
                return patched
        return event.rendering.wire(Rendering.frame, watch.on)
    if isinstance(event, Current):
        return messages.current(watch.on, event.rendering.etag)
    return messages.end(watch.on, event.document)


def _state_event(rendering: Rendering, _on: str) -> bytes:
    if rendering.compact is not None:
        return sse.event(rendering.compact, id=rendering.etag)
    if (text := rendering.text) is not None:
        return sse.event(text.encode(), id=rendering.etag)
    return sse.event(EMPTY, name="fetch", id=rendering.etag)


def _state_line(rendering: Rendering, on: str) -> bytes:
    return ndjson.line(rendering.frame(on))


def _state_framed_event(rendering: Rendering, on: str) -> bytes:
    return sse.event(rendering.frame(on))


class EventStream:
    """Server-sent events of one resource: ``data`` is the representation, ``id`` its tag."""

    media_type = b"text/event-stream; charset=utf-8"
    silence = sse.COMMENT

    @staticmethod
    def chunk(rendering: Rendering, on: str) -> bytes:
        """A state as a chunk."""
        return chunk(_state_event(rendering, on))

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as bytes."""
        if isinstance(event, State):
            return event.rendering.wire(_state_event, watch.on)
        if isinstance(event, Current):
            return sse.event(EMPTY, name="current", id=event.rendering.etag)
        return sse.event(msgspec.json.encode(event.document), name="end")

    def retry(self, milliseconds: int) -> bytes:
        """Come back after this time."""
        return sse.retry(milliseconds)


class FramedEventStream(EventStream):
    """Server-sent events of many resources: ``data`` is the socket's object."""

    @staticmethod
    def chunk(rendering: Rendering, on: str) -> bytes:
        """A state as a chunk."""
        return chunk(_state_framed_event(rendering, on))

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as bytes."""
        if isinstance(event, State) and event.base is None:
            return event.rendering.wire(_state_framed_event, watch.on)
        return sse.event(frame(watch, event))


class Lines:
    """NDJSON: the socket's objects, a line each; an empty line is silence."""

    media_type = b"application/x-ndjson"
    silence = b"\n"

    @staticmethod
    def chunk(rendering: Rendering, on: str) -> bytes:
        """A state as a chunk."""
        return chunk(_state_line(rendering, on))

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as bytes."""
        if isinstance(event, State) and event.base is None:
            return event.rendering.wire(_state_line, watch.on)
        return ndjson.line(frame(watch, event))

    def retry(self, milliseconds: int) -> bytes:
        """Come back after this time."""
        return ndjson.line(messages.retry(milliseconds))


EVENT_STREAM, FRAMED_EVENT_STREAM, LINES = EventStream(), FramedEventStream(), Lines()
