"""The HTTP verbs on one declared operation's URIs, as functions of a request (design 4.4)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import Problem
from ..http.preferences import prefer, wait_seconds
from ..http.targets import scope_target
from ..streams.offsets import BEGINNING, START
from ..streams.requests import reading
from .answers import (
    PRIVATE,
    answer_of,
    document,
    json_answer,
    retry_after,
)
from .declaration import Declaration
from .forms import FormRequest
from .options import options_of
from .part_streams import PAGE, PART, described
from .record import OperationRecord, Status
from .service import Service, route_of
from .serving import part_response

__all__ = ["Endpoints"]


class Endpoints:
    """Every method is one route's answer. ``owner`` is what ``owner=`` said of the request."""

    def __init__(self, service: Service, declaration: Declaration) -> None:
        self._service, self._declaration = service, declaration

    async def _find(self, request: Request, owner: str | None) -> OperationRecord:
        return await self._service.find(request, self._declaration, owner)

    async def submit(
        self, request: Request, owner: str | None, solved: Mapping[str, Any], values: Mapping[str, Any]
    ) -> Response:
        """POST of the collection: 202, or 200 where it has finished within ``Prefer: wait``.

        ``solved`` has the values of the options that are dependencies, ``values`` those of the parameters.
        """
        service = self._service
        preferences = prefer(tuple(request.scope["headers"]))
        wait = wait_seconds(preferences, service.host.settings.max_wait)
        options = options_of(self._declaration, solved, service.host.settings, service.store.clock())
        operation = await service.submit(request, self._declaration, owner, values, options)
        if isinstance(request, FormRequest):
            await request.arrived()
        headers = {"Location": operation.location, "Cache-Control": "no-store"}
        if wait is not None:
            operation = await service.final(operation, wait)
            headers["Preference-Applied"] = f"wait={preferences['wait']}"
        elif "respond-async" in preferences:
            headers["Preference-Applied"] = "respond-async"
        if wait is not None and operation.final:
            headers["Content-Location"] = operation.location
            return self._shown(operation, 200, headers)
        headers["Retry-After"] = retry_after(operation)
        return self._shown(operation, 202, headers)

    def _shown(self, operation: OperationRecord, status: int, headers: Mapping[str, str]) -> Response:
        body = document(operation, self._service.place(operation))
        return Response(body, status, headers, "application/json")

    async def read(self, request: Request, owner: str | None) -> Response:
        """GET of the operation."""
        operation = await self._find(request, owner)
        return answer_of(request, operation, self._service.place(operation))

    async def listing(
        self, request: Request, owner: str | None, status: Status | None, before: str | None, limit: int
    ) -> Response:
        """GET of the collection."""
        if owner is None:
            raise Problem(404, "There is no listing", "An operation is known by its own URL.")
        route = route_of(request, self._declaration)
        found = await self._service.listed(owner, route, status, before, limit + 1)
        headers = {}
        if len(found) > limit:
            query = f"?before={found[limit - 1].id}&limit={limit}" + (f"&status={status}" if status else "")
            target = scope_target(request.scope).partition("?")[0]
            headers["Link"] = f'<{target}{query}>; rel="next"'
        place = self._service.place
        body = msgspec.json.encode([each.document(place(each)) for each in found[:limit]])
        return json_answer(request, body, final=False, headers=headers)

    async def result(self, request: Request, owner: str | None) -> Response:
        """GET of the return value."""
        operation = await self._find(request, owner)
        if not operation.final:
            later = {"Retry-After": retry_after(operation)}
            raise Problem(
                404, "There is no result yet", f"The operation is {operation.status}.", headers=later
            )
        if operation.status == "canceled":
            raise Problem(409, "The operation was canceled")
        if operation.error is not None:
            raise _conflict(operation.error)
        return json_answer(request, await self._service.result(operation), final=True)

    async def parts(self, request: Request, owner: str | None, offset: str) -> Response:
        """GET of the finished parts after an offset: a read of a stream, by the Durable Streams protocol."""
        operation = await self._find(request, owner)
        if "restive" in request.scope:  # whether they may be read is all that a look asks
            return Response(b"{}", headers={"Cache-Control": PRIVATE}, media_type="application/json")
        asked = reading(request.scope.get("query_string") or b"")
        if asked.live:
            return await self._service.part_streams.poll(request, asked, self._service.host.hub())
        page = await self._service.parts(operation, "" if offset in {BEGINNING, START} else offset, PAGE)
        headers = {"Stream-Next-Offset": page.next or "-1"}
        if page.up_to_date:
            headers["Stream-Up-To-Date"] = "true"
        if page.closed:
            headers["Stream-Closed"] = "true"
        items = [described(operation, PART.decode(item)) for item in page.items]
        return json_answer(request, msgspec.json.encode(items), final=page.closed, headers=headers)

    async def part(self, request: Request, owner: str | None) -> Response:
        """GET and HEAD of a part's bytes."""
        operation = await self._find(request, owner)
        name = str(request.path_params["part_name"])
        for _ in range(2):  # a part can be finished between finding and opening it
            found = await self._service.part(operation, name)
            if found is None:
                break
            with contextlib.suppress(FileNotFoundError):
                depot = self._service.files.depot()
                return await part_response(request, found, depot, lambda: self._service.running(operation.id))
        later = {} if operation.final else {"Retry-After": "1"}
        raise Problem(404, "There is no such part", headers=later)

    async def cancel(self, request: Request, owner: str | None) -> Response:
        """POST of the cancel: 202, or 200 where the operation is final."""
        operation = await self._service.cancel(await self._find(request, owner))
        headers = {"Cache-Control": "no-store", "Content-Location": operation.location}
        if not operation.final:
            headers["Retry-After"] = "1"
        return self._shown(operation, 200 if operation.final else 202, headers)

    async def delete(self, request: Request, owner: str | None) -> Response:
        """DELETE of the operation."""
        await self._service.delete(await self._find(request, owner))
        return Response(status_code=204, headers={"Cache-Control": PRIVATE})


def _conflict(error: Mapping[str, Any]) -> Problem:
    problem = Problem.from_document(error)
    problem.members["error"] = dict(error)
    problem.status = 409
    return problem
