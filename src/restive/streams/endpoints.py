"""The HTTP verbs on one declared stream's URIs, as functions of a request (protocol section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import Problem
from ..http.fields import Fields, get, media_type
from ..http.targets import scope_target
from ..settings import Settings
from . import requests
from .answers import next_offset
from .content import ANY, parted
from .declaration import Declaration
from .lives import Life
from .offsets import NOW, absent
from .producers import Outcome, Write
from .reading import Reads, nothing
from .service import Service, StreamSource, named
from .tasks import Creation, Sight, Writing

__all__ = ["Endpoints"]

EMPTY = b"{}"
"""What a look of Restive's own is answered: whether a stream may be read is all that it asks."""

MAX_PATH = 2048
"""Bytes of the path of a stream that clients create."""


class Endpoints:
    """Every method is one verb's answer."""

    def __init__(self, service: Service, declaration: Declaration) -> None:
        self._service, self._declaration = service, declaration
        self._reads = Reads(service.host, service.polls, public=declaration.public)

    @property
    def _settings(self) -> Settings:
        return self._service.host.settings

    @staticmethod
    def _path(request: Request) -> str:
        scope = request.scope
        return named(str(scope["path"]), str(scope.get("root_path") or ""))

    # Reading

    async def read(self, request: Request) -> Response:
        """GET: a page, or the first items to come."""
        path = self._path(request)
        source = StreamSource(self._service, self._declaration, path)
        if "restive" not in request.scope:
            return await self._reads.answer(request, source, partial(self._service.follow, path))
        found = await self._service.offload(self._service.log.find, path)
        if found is None and not source.lasting:
            raise absent()
        return Response(EMPTY, headers={"Cache-Control": "private, no-cache"}, media_type="application/json")

    async def head(self, request: Request) -> Response:
        """HEAD: where it ends, and what was said when it was created."""
        path = self._path(request)
        sight = await self._service.look(path)
        fields = {"Cache-Control": "no-store"}
        if sight is not None:
            return Response(headers={**fields, **_metadata(sight.life), **_where(sight)})
        place, found = nothing(StreamSource(self._service, self._declaration, path), NOW)
        where = next_offset(found.next, closed=False, up_to_date=False)
        return Response(headers={**fields, "Content-Type": place.content_type, **where})

    # Writing

    async def create(self, request: Request) -> Response:
        """PUT (section 5.1)."""
        path = self._path(request)
        if len(path) > MAX_PATH:
            raise Problem(414, detail=f"The path of a stream has at most {MAX_PATH} bytes.")
        fields: Fields = tuple(request.scope["headers"])
        if get(fields, b"stream-forked-from") is not None:
            raise Problem(501, "No forks", "Streams are not forked here: create one and append to it.")
        wanted = self._wanted(path, fields)
        close = requests.closes(fields)
        items = await self._items(request, wanted.content_type)
        sight = await self._service.create(path, Creation(wanted, items, close))
        if not sight.created and not _matches(sight, wanted, close):
            raise _conflict("There is a stream with another type, end or state", sight)
        headers = {**_metadata(sight.life), **_where(sight), "Cache-Control": "no-store"}
        if sight.created:
            headers["Location"] = self._location(request)
        response = Response(status_code=201 if sight.created else 200, headers=headers)
        response.headers["content-type"] = sight.life.content_type
        return response

    def _wanted(self, path: str, fields: Fields) -> Life:
        given, declared = get(fields, b"content-type"), self._declaration
        if given is not None and not media_type(given):
            raise Problem(400, "Malformed Content-Type")
        if given is not None and declared.content_type != ANY and not _same(given, declared.content_type):
            detail = f"Streams here hold {declared.content_type}."
            raise Problem(415, detail=detail, headers={"Accept": declared.content_type})
        ttl, expires = requests.expiry(fields)
        if declared.ttl is not None:
            if expires is not None or (ttl is not None and ttl > declared.ttl):
                raise Problem(400, "Too long", f"Streams here have a Stream-TTL of {declared.ttl:g} at most.")
            ttl = declared.ttl if ttl is None else ttl
        life = declared.life(path, given)
        return msgspec.structs.replace(life, ttl=ttl, expires=expires)

    def _location(self, request: Request) -> str:
        path = scope_target({**request.scope, "query_string": b""})
        origin = self._settings.public_url or f"{request.url.scheme}://{request.url.netloc}"
        return origin.rstrip("/") + path

    async def append(self, request: Request) -> Response:
        """POST (sections 5.2 and 5.3)."""
        path = self._path(request)
        fields: Fields = tuple(request.scope["headers"])
        producer, sequence = requests.producer(fields), requests.sequence(fields)
        close = requests.closes(fields)
        body = await _body(request, self._settings.max_append)
        given = get(fields, b"content-type")
        if not body and not close:
            raise Problem(400, "Empty append", "Only Stream-Closed: true comes without a body.")
        if body and not media_type(given):
            raise Problem(400, "No Content-Type", "Say the stream's own Content-Type.")
        kind = media_type(given) if body else None
        items = await self._items_for(path, body, kind) if kind else ()
        writing = Writing(Write(items, close, producer, sequence, kind))
        return _answered(await self._service.write(self._declaration, path, writing), writing.write)

    async def _items_for(self, path: str, body: bytes, kind: str) -> tuple[bytes, ...]:
        """The items of an append; what else is wrong with it comes first (section 5.2)."""
        try:
            items = self._parted(body, kind)
            if not items:
                raise Problem(400, "Empty append", "An empty array appends nothing.")
        except Problem as problem:
            sight = await self._service.look(path)
            if sight is None:
                raise absent() from None
            if sight.closed:
                raise _conflict("The stream is closed", sight) from None
            if media_type(sight.life.content_type) != kind:
                raise _conflict("The stream holds another type", sight) from None
            raise problem from None
        return items

    def _parted(self, body: bytes, kind: str) -> tuple[bytes, ...]:
        settings = self._settings
        return parted(body, kind, most=settings.max_append_items, depth=settings.max_append_depth)

    async def _items(self, request: Request, content_type: str) -> tuple[bytes, ...]:
        body = await _body(request, self._settings.max_append)
        return self._parted(body, content_type) if body else ()

    async def delete(self, request: Request) -> Response:
        """DELETE (section 5.4)."""
        if not await self._service.delete(self._path(request)):
            raise absent()
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def refuse(self, request: Request) -> Response:  # noqa: ARG002
        """A write to a stream that only the app writes."""
        detail = "Only the app itself writes to this stream."
        raise Problem(405, detail=detail, headers={"Allow": "GET, HEAD, OPTIONS"})


def _metadata(life: Life) -> dict[str, str]:
    fields = {"Content-Type": life.content_type}
    if life.ttl is not None:
        fields["Stream-TTL"] = f"{life.ttl:g}" if life.ttl % 1 else str(int(life.ttl))
    if life.expires is not None:
        fields["Stream-Expires-At"] = requests.rfc3339(life.expires)
    return fields


def _where(sight: Sight) -> dict[str, str]:
    return next_offset(sight.offset, closed=sight.closed, up_to_date=False)


def _same(first: str, second: str) -> bool:
    return media_type(first) == media_type(second)


def _matches(sight: Sight, wanted: Life, close: bool) -> bool:
    """Whether a creation asks for what is there (section 5.1)."""
    life = sight.life
    if wanted.ttl is None and wanted.expires is None:
        same_end = life.ttl is None and life.expires is None
    else:
        same_end = (life.ttl, life.expires) == (wanted.ttl, wanted.expires)
    return same_end and sight.closed == close and _same(life.content_type, wanted.content_type)


def _conflict(title: str, sight: Sight) -> Problem:
    return Problem(409, title, headers=_where(sight))


PROBLEMS: Mapping[str, tuple[int, str, str]] = {
    "closed": (409, "The stream is closed", "Nothing can be appended to it any more."),
    "other-type": (409, "The stream holds another type", "Send what it was created for."),
    "stale-epoch": (
        403,
        "The producer's epoch is past",
        "Another one writes under its id, in a later epoch.",
    ),
    "epoch-begins-at-0": (
        400,
        "An epoch begins at 0",
        "The first Producer-Seq of a Producer-Epoch is 0.",
    ),
    "gap": (409, "A batch is missing", "The batches of a producer come one after the other."),
    "old-sequence": (409, "Stream-Seq is past", "It has to be greater than the last one, byte by byte."),
}


def _answered(outcome: Outcome, write: Write) -> Response:
    """The answer to an append. Raises ``Problem``."""
    if outcome.verdict == "absent":
        raise absent()
    headers = {
        "Cache-Control": "no-store",
        **next_offset(outcome.offset, closed=outcome.closed, up_to_date=False),
        **_producer(outcome, write),
    }
    refusal = PROBLEMS.get(outcome.verdict)
    if refusal is not None:
        status, title, detail = refusal
        raise Problem(status, title, detail, headers=headers)
    new = outcome.verdict == "appended" and write.producer is not None and bool(write.items)
    return Response(status_code=200 if new else 204, headers=headers)


def _producer(outcome: Outcome, write: Write) -> dict[str, str]:
    if write.producer is None:
        return {}
    if outcome.verdict == "appended":
        return {"Producer-Epoch": str(write.producer.epoch), "Producer-Seq": str(write.producer.seq)}
    if outcome.verdict == "duplicate":
        return {"Producer-Epoch": str(outcome.epoch), "Producer-Seq": str(outcome.seq)}
    if outcome.verdict == "gap":
        return {"Producer-Expected-Seq": str(outcome.seq), "Producer-Received-Seq": str(write.producer.seq)}
    return {"Producer-Epoch": str(outcome.epoch)} if outcome.verdict == "stale-epoch" else {}


async def _body(request: Request, limit: int) -> bytes:
    """All of the request's body. Raises ``Problem`` (400, 413).

    One that is a little too long is read all the same: most clients take no answer before they have sent all.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
            elif size > 2 * limit:
                break
            else:
                chunks.clear()
    except ClientDisconnect:
        raise Problem(400, "Incomplete request") from None
    if size > limit:
        raise Problem(413, detail=f"An append has at most {limit} bytes.", headers={"Connection": "close"})
    return b"".join(chunks)
