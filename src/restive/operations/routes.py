"""The routes of one declared operation, as FastAPI wants them: it solves and documents the parameters."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from .arriving import Arrivals
from .declaration import Declaration
from .endpoints import Endpoints
from .guard import Guards
from .openapi import describe, describe_part, describe_submission, is_form
from .options import OPTIONS
from .schema import models
from .service import Service

if TYPE_CHECKING:
    from fastapi import APIRouter
    from fastapi.routing import APIRoute

__all__ = ["add_routes"]

REQUEST, OWNER, OPTION = "_restive_request", "_restive_owner", "_restive_"
"""Names of parameters, the last one of a prefix, that no declared function has."""

GONE = (400, 404, 410, 503)
"""Problems of every route below an operation."""

Endpoint = Callable[..., Awaitable[Response]]


def add_routes(router: APIRouter, service: Service, declaration: Declaration) -> None:
    """Add all routes of ``declaration``."""
    adding = _Adding(router, service, declaration)
    ends = Endpoints(service, declaration)
    path, one = declaration.path, declaration.path + "/{operation_id}"
    parts = f"{one}/parts"
    operation, part = models()
    many = list[operation], list[part]  # type: ignore[valid-type]
    submission = adding.submission(ends, operation)
    result = type(None) if declaration.result_model is None else declaration.result_model
    adding.get(path, ends.listing, "List", [400, 404], _listing_parameters(), response_model=many[0])
    links = {
        "status": adding.get(one, ends.read, "Read", GONE, response_model=operation),
        "result": adding.get(f"{one}/result", ends.result, "Result of", [*GONE, 409], response_model=result),
        "parts": adding.get(parts, ends.parts, "Parts of", GONE, _parts_parameters(), response_model=many[1]),
        "cancel": adding.cancel(f"{one}/cancel", ends, operation),
    }
    describe_part(
        adding.get(f"{parts}/{{part_name}}", ends.part, "Part of", [*GONE, 416], response_class=Response)
    )
    adding.delete(one, ends)
    describe_submission(submission, {name: str(route.unique_id) for name, route in links.items()})


class _Adding:
    def __init__(self, router: APIRouter, service: Service, declaration: Declaration) -> None:
        self._router, self._declaration = router, declaration
        self._dependencies = list(declaration.dependencies)
        self._tags: Any = list(declaration.tags) or None
        self._plain, self._submitting = _route_class(service), _route_class(service, service.arrivals)

    def submission(self, ends: Endpoints, operation: Any) -> APIRoute:
        declaration = self._declaration
        options = {OPTION + name: name for name in OPTIONS if callable(getattr(declaration, name))}

        async def submit(**values: Any) -> Response:
            request, owner = values.pop(REQUEST), values.pop(OWNER, None)
            solved = {name: values.pop(parameter) for parameter, name in options.items()}
            return await ends.submit(request, owner, solved, values)

        solved = [_solved(parameter, getattr(declaration, name)) for parameter, name in options.items()]
        asked = list(declaration.signature.request.parameters.values())
        return self._register(
            declaration.path,
            _signed(submit, self._own() + solved + asked),
            ["POST"],
            declaration.name,
            route_class_override=self._submitting,
            status_code=202,
            summary=declaration.summary or declaration.name.replace("_", " ").capitalize(),
            description=inspect.getdoc(declaration.function) or "",
            response_description="Accepted: the operation, at Location.",
            responses={
                202: {"model": operation},
                200: {"model": operation, "description": "Finished within `Prefer: wait`."},
            },
        )

    def get(
        self,
        path: str,
        end: Endpoint,
        verb: str,
        problems: Collection[int],
        parameters: Collection[inspect.Parameter] = (),
        **options: Any,
    ) -> APIRoute:
        """Add GET and HEAD; returns the first."""
        found = self._add(path, end, ["GET"], verb, [*problems, 304], parameters, **options)
        self._add(path, end, ["HEAD"], verb, [], parameters, include_in_schema=False)
        return found

    def cancel(self, path: str, ends: Endpoints, operation: Any) -> APIRoute:
        final = {200: {"model": operation, "description": "It was final already."}}
        return self._add(
            *(path, ends.cancel, ["POST"], "Cancel", [*GONE, 403]),
            status_code=202,
            response_model=operation,
            responses=final,
        )

    def delete(self, path: str, ends: Endpoints) -> None:
        self._add(path, ends.delete, ["DELETE"], "Delete", [*GONE, 403], status_code=204)

    def _add(
        self,
        path: str,
        end: Endpoint,
        methods: list[str],
        verb: str,
        problems: Collection[int],
        parameters: Collection[inspect.Parameter] = (),
        **options: Any,
    ) -> APIRoute:
        async def answer(**values: Any) -> Response:
            return await end(values.pop(REQUEST), values.pop(OWNER, None), **values)

        endpoint = _signed(answer, [*self._own(), *parameters])
        name = f"{verb} {self._declaration.name}".lower().replace(" ", "_")
        route = self._register(path, endpoint, methods, name, route_class_override=self._plain, **options)
        describe(route, problems)
        return route

    def _register(
        self, path: str, endpoint: Endpoint, methods: list[str], name: str, **options: Any
    ) -> APIRoute:
        from fastapi.routing import APIRoute

        options = {"response_model": None, "dependencies": self._dependencies, "tags": self._tags, **options}
        self._router.add_api_route(path, endpoint, methods=methods, name=name, **options)
        route = self._router.routes[-1]
        assert isinstance(route, APIRoute)
        return route

    def _own(self) -> list[inspect.Parameter]:
        own = [_parameter(REQUEST, Request)]
        if self._declaration.owner is not None:
            own.append(_solved(OWNER, self._declaration.owner, str | None))
        return own


def _route_class(service: Service, arrivals: Arrivals | None = None) -> type:
    from fastapi.routing import APIRoute

    class OperationRoute(APIRoute):
        """A route behind Restive's own guards, which answers a ``Problem`` as one."""

        def get_route_handler(self) -> Any:
            guards = Guards(service.host.settings, service.files.root, arrivals, form=is_form(self))
            return guards.around(super().get_route_handler())

    return OperationRoute


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


def _solved(name: str, dependency: Callable[..., Any], annotation: Any = Any) -> inspect.Parameter:
    from fastapi import Depends

    return _parameter(name, Annotated[annotation, Depends(dependency)])


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _signed(endpoint: Endpoint, parameters: list[inspect.Parameter]) -> Endpoint:
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return endpoint
