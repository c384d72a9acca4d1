"""The routes of one declared stream, as FastAPI wants them: it solves the guards and documents the path."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.convertors import FloatConvertor, IntegerConvertor, UUIDConvertor
from starlette.requests import Request
from starlette.responses import Response

from .declaration import Declaration
from .endpoints import Endpoints
from .guard import Guards
from .service import Service

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add_routes"]

REQUEST = "_restive_request"
"""The name of a parameter that no path has."""

TYPES = {IntegerConvertor: int, FloatConvertor: float, UUIDConvertor: UUID}

Endpoint = Callable[[Request], Awaitable[Response]]


def add_routes(router: APIRouter, service: Service, declaration: Declaration) -> None:
    """Add all routes of ``declaration``."""
    ends = Endpoints(service, declaration)
    guards = Guards(service.host.settings, public=declaration.public)
    add = _Adding(router, declaration, _route_class(guards))
    readers = list(declaration.dependencies)
    writers = [*readers, *declaration.write_dependencies]
    add(ends.read, ["GET"], "Read", readers)
    add(ends.head, ["HEAD"], "Metadata of", readers, shown=False)
    add(guards.preflight, ["OPTIONS"], "Options of", (), shown=False)
    if declaration.writable:
        add(ends.create, ["PUT"], "Create", writers, status=201)
        add(ends.append, ["POST"], "Append to", writers, status=204)
        add(ends.delete, ["DELETE"], "Delete", writers, status=204)
    else:
        add(ends.refuse, ["PUT", "POST", "DELETE"], "Refuse", (), shown=False)


class _Adding:
    def __init__(self, router: APIRouter, declaration: Declaration, kind: type) -> None:
        self._router, self._declaration, self._kind = router, declaration, kind
        self._parameters = [
            _parameter(name, TYPES.get(type(converter), str))
            for name, converter in declaration.parameters.items()
        ]

    def __call__(
        self,
        end: Endpoint,
        methods: list[str],
        verb: str,
        dependencies: Sequence[Any],
        *,
        status: int = 200,
        shown: bool = True,
    ) -> None:
        async def answer(**values: Any) -> Response:
            return await end(values[REQUEST])

        own = _parameter(REQUEST, Request)
        answer.__signature__ = inspect.Signature([own, *self._parameters])  # type: ignore[attr-defined]
        path = self._declaration.path
        self._router.add_api_route(
            path,
            answer,
            methods=methods,
            name=f"{verb} {path}".lower(),
            summary=f"{verb} the stream",
            dependencies=dependencies,
            tags=list(self._declaration.tags) or None,
            status_code=status,
            response_model=None,
            response_class=Response,
            include_in_schema=shown,
            route_class_override=self._kind,
        )


def _route_class(guards: Guards) -> type:
    from fastapi.routing import APIRoute

    class StreamRoute(APIRoute):
        """A route behind Restive's own guards, which answers a ``Problem`` as one."""

        def get_route_handler(self) -> Any:
            return guards.around(super().get_route_handler())

    return StreamRoute


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
