"""The routes of one declared operation, as FastAPI wants them: it solves and documents the parameters."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from .declaration import Declaration
from .endpoints import Endpoints
from .guard import guarded
from .schema import models
from .service import Service

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add_routes"]

REQUEST, OWNER = "_restive_request", "_restive_owner"
"""Names of parameters that no declared function has."""

Endpoint = Callable[..., Awaitable[Response]]


def add_routes(router: APIRouter, service: Service, declaration: Declaration) -> None:
    """Add all routes of ``declaration``."""
    adding = _Adding(router, service, declaration)
    ends = Endpoints(service, declaration)
    path, one = declaration.path, declaration.path + "/{operation_id}"
    operation, part, problem = models()
    adding.submission(ends, operation, problem)
    adding.get(path, ends.listing, "List", list[operation], _listing_parameters())  # type: ignore[valid-type]
    adding.get(one, ends.read, "Read", operation)
    adding.get(f"{one}/result", ends.result, "Result of", declaration.result_model)
    adding.get(f"{one}/parts", ends.parts, "Parts of", list[part], _parts_parameters())  # type: ignore[valid-type]
    adding.get(f"{one}/parts/{{part_name}}", ends.part, "Part of")
    adding.add(f"{one}/cancel", ends.cancel, ["POST"], "Cancel", status_code=202, response_model=operation)
    adding.add(one, ends.delete, ["DELETE"], "Delete", status_code=204)


class _Adding:
    def __init__(self, router: APIRouter, service: Service, declaration: Declaration) -> None:
        self._router, self._declaration = router, declaration
        self._common: dict[str, Any] = {
            "dependencies": list(declaration.dependencies),
            "tags": list(declaration.tags) or None,
            "route_class_override": _route_class(service),
        }

    def submission(self, ends: Endpoints, operation: Any, problem: Any) -> None:
        declaration = self._declaration

        async def submit(**values: Any) -> Response:
            request, owner = values.pop(REQUEST), values.pop(OWNER, None)
            return await ends.submit(request, owner, values)

        asked = list(declaration.signature.request.parameters.values())
        self._register(
            declaration.path,
            _signed(submit, self._own() + asked),
            ["POST"],
            declaration.name,
            status_code=202,
            summary=declaration.summary or declaration.name.replace("_", " ").capitalize(),
            description=inspect.getdoc(declaration.function) or "",
            response_description="Accepted: the operation, at Location.",
            responses={
                202: {"model": operation, "headers": _SUBMITTED},
                200: {"model": operation, "description": "Finished within `Prefer: wait`."},
                503: {"model": problem, "description": "The queue is full."},
            },
        )

    def get(
        self,
        path: str,
        end: Endpoint,
        verb: str,
        model: Any = None,
        parameters: list[inspect.Parameter] | None = None,
    ) -> None:
        responses = {404: {"description": "There is none."}, 410: {"description": "It is gone."}}
        self.add(path, end, ["GET"], verb, parameters, response_model=model, responses=responses)
        self.add(path, end, ["HEAD"], verb, parameters, include_in_schema=False)

    def add(
        self,
        path: str,
        end: Endpoint,
        methods: list[str],
        verb: str,
        parameters: list[inspect.Parameter] | None = None,
        **options: Any,
    ) -> None:
        async def answer(**values: Any) -> Response:
            return await end(values.pop(REQUEST), values.pop(OWNER, None), **values)

        endpoint = _signed(answer, self._own() + (parameters or []))
        name = f"{verb} {self._declaration.name}".lower().replace(" ", "_")
        self._register(path, endpoint, methods, name, **options)

    def _register(self, path: str, endpoint: Endpoint, methods: list[str], name: str, **options: Any) -> None:
        options.setdefault("response_model", None)
        self._router.add_api_route(path, endpoint, methods=methods, name=name, **{**self._common, **options})

    def _own(self) -> list[inspect.Parameter]:
        from fastapi import Depends

        own = [_parameter(REQUEST, Request)]
        if self._declaration.owner is not None:
            own.append(_parameter(OWNER, Annotated[str | None, Depends(self._declaration.owner)]))
        return own


def _route_class(service: Service) -> type:
    from fastapi.routing import APIRoute

    class OperationRoute(APIRoute):
        """A route behind Restive's own guards, which answers a ``Problem`` as one."""

        def get_route_handler(self) -> Any:
            return guarded(super().get_route_handler(), service.host.settings, service.files.root)

    return OperationRoute


_SUBMITTED: dict[str, Any] = {
    "Location": {"description": "The operation's URL.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
}


def _listing_parameters() -> list[inspect.Parameter]:
    from fastapi import Query

    status = Literal["queued", "running", "succeeded", "failed", "canceled"] | None
    return [
        _parameter("status", status, None),
        _parameter("before", Annotated[str | None, Query(max_length=64)], None),
        _parameter("limit", Annotated[int, Query(ge=1, le=200)], 50),
    ]


def _parts_parameters() -> list[inspect.Parameter]:
    from fastapi import Query

    return [_parameter("offset", Annotated[str, Query(max_length=256)], "-1")]


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _signed(endpoint: Endpoint, parameters: list[inspect.Parameter]) -> Endpoint:
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return endpoint
