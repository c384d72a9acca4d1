"""How events are written on each kind of stream: bytes for a state, ``current``, the end, and silence."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from ..http.fields import Fields
from ..hub.following import Following
from ..hub.rendering import Rendering
from ..hub.watch import Batch, Closed, Current, End, Event, Items, Refusal, State, Watch
from ..telemetry.metrics import NDJSON, SSE, Traffic
from ..wire import durable, messages, ndjson, sse

EMPTY = b"{}"
_json = msgspec.json.encode


def chunk(data: bytes) -> bytes:
    """``data`` as one chunk of a body (RFC 9112, section 7.1); nothing where there is none."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class Form(Protocol):
    """One way to write events on a response that stays open."""

    media_type: bytes
    caching: bytes
    """Its Cache-Control."""
    silence: bytes
    traffic: Traffic

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

    def fields(self, watch: Watch, event: Event) -> Fields:
        """What the head says besides, where ``event`` is the first."""
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
    if isinstance(event, Items):
        return event.wire(items_frame, watch.on)
    if isinstance(event, Closed):
        return messages.closed(watch.on)
    if isinstance(event, Refusal):
        return messages.error(event.document, on=watch.on)
    return messages.end(watch.on, event.document)


def items_frame(batch: Batch, on: str) -> bytes:
    """Items of a stream as the socket's own object; what is not JSON as strings."""
    if batch.kind == "json":
        return messages.items(on, batch.offset, batch.items)
    if batch.kind == "text":
        try:
            return messages.items(on, batch.offset, [_json(item.decode()) for item in batch.items])
        except UnicodeDecodeError:
            pass  # a character that was appended in two pieces
    strings = [b'"%b"' % b64encode(item) for item in batch.items]
    return messages.items(on, batch.offset, strings, base64=True)


def _items_line(batch: Batch, on: str) -> bytes:
    return ndjson.line(items_frame(batch, on))


def _items_framed_event(batch: Batch, on: str) -> bytes:
    return sse.event(items_frame(batch, on))


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
    caching = b"no-store"
    silence = sse.COMMENT
    traffic = SSE

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
        assert isinstance(event, End)  # the others are of streams
        return sse.event(msgspec.json.encode(event.document), name="end")

    def retry(self, milliseconds: int) -> bytes:
        """Come back after this time."""
        return sse.retry(milliseconds)

    def fields(self, watch: Watch, event: Event) -> Fields:
        """The app's own fields."""
        return app_fields(watch, event)


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
        if isinstance(event, Items):
            return event.wire(_items_framed_event, watch.on)
        return sse.event(frame(watch, event))


class Lines:
    """NDJSON: the socket's objects, a line each; an empty line is silence."""

    media_type = b"application/x-ndjson"
    caching = b"no-store"
    silence = b"\n"
    traffic = NDJSON

    @staticmethod
    def chunk(rendering: Rendering, on: str) -> bytes:
        """A state as a chunk."""
        return chunk(_state_line(rendering, on))

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as bytes."""
        if isinstance(event, State) and event.base is None:
            return event.rendering.wire(_state_line, watch.on)
        if isinstance(event, Items):
            return event.wire(_items_line, watch.on)
        return ndjson.line(frame(watch, event))

    def retry(self, milliseconds: int) -> bytes:
        """Come back after this time."""
        return ndjson.line(messages.retry(milliseconds))

    def fields(self, watch: Watch, event: Event) -> Fields:
        """The app's own fields."""
        return app_fields(watch, event)


class ItemEventStream(EventStream):
    """Server-sent events of one stream, as the Durable Streams protocol has them.

    ``ahead`` are the intervals by which its cursor runs before the time, for a client that has this one.
    """

    media_type = b"text/event-stream"
    caching = b"no-store, no-cache"  # the latter is what the protocol's conformance suite asks for

    def __init__(self, ahead: int = 0) -> None:
        self._events: Callable[[Batch, str], bytes] = partial(_item_events, ahead=ahead)

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as bytes."""
        if isinstance(event, Items):
            return event.wire(self._events, watch.on)
        if isinstance(event, Closed):
            return b""  # the last items have said so
        return EventStream.event(self, watch, event)

    def fields(self, watch: Watch, event: Event) -> Fields:
        """Also how its data is to be read."""
        own = app_fields(watch, event)
        if isinstance(event, Items) and event.batch.kind == "bytes":
            return (*own, (b"stream-sse-data-encoding", b"base64"))
        return own


def _item_events(batch: Batch, _on: str, ahead: int = 0) -> bytes:
    now = durable.interval(time.time()) + ahead
    control = durable.control(batch.offset, now, up_to_date=batch.up_to_date, closed=batch.closed)
    return durable.data(batch.kind, batch.items) + control


def app_fields(watch: Watch, event: Event) -> Fields:
    """What the app says with the state that ``event`` tells, or with the right to read a stream."""
    if isinstance(watch, Following):
        return watch.fields
    return event.rendering.fields if isinstance(event, State | Current) else ()


EVENT_STREAM, FRAMED_EVENT_STREAM, LINES = EventStream(), FramedEventStream(), Lines()
ITEM_EVENT_STREAM = ItemEventStream()
