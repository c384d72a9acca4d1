"""What the app's OpenAPI says of an operation's routes beyond what FastAPI finds in their signatures.

FastAPI merges a route's ``openapi_extra`` into what it describes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

__all__ = ["describe", "describe_part", "describe_submission", "is_form"]

PROBLEM = {"$ref": "#/components/schemas/OperationProblem"}
_PARAMETER = re.compile(r"{([^}]*)}")

WHY: Mapping[int, str] = {
    304: "Not changed since If-None-Match.",
    400: "The request cannot be understood.",
    403: "A page of another origin used the user's cookies.",
    404: "There is none.",
    409: "Not in this state.",
    410: "It was deleted, or kept as long as was promised.",
    413: "The body is too large.",
    415: "The body is no form.",
    416: "No such range.",
    422: "The payload is not valid, or the key came with another one.",
    429: "The owner has too much waiting or stored; Retry-After says when to try again.",
    500: "The operation's own declaration went wrong.",
    503: "The queue is full, or the store is away; Retry-After says when to try again.",
    507: "The server's disk is full.",
}

SUBMITTED: Mapping[str, Any] = {
    "Location": {"description": "The operation's URL.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "Preference-Applied": {"schema": {"type": "string"}},
}

HEADERS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes it safe to repeat: with the same key and payload there is one operation.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=5`: 200 if it has finished within five seconds. `respond-async`: 202 at once.",
        "schema": {"type": "string"},
    },
)


def is_form(route: APIRoute) -> bool:
    """Whether its body is a form."""
    from fastapi import params

    return route.body_field is not None and isinstance(route.body_field.field_info, params.Form)


def describe(route: APIRoute, problems: Iterable[int]) -> None:
    """Describe a route that reads or changes an operation."""
    route.openapi_extra = {"parameters": _undescribed(route), "responses": _problems(problems)}


def describe_part(route: APIRoute) -> None:
    """Describe a route whose answer is bytes of any type, or a range of them, as ``describe`` did not."""
    content = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
    headers = {"Accept-Ranges": {"schema": {"type": "string"}}, "Repr-Digest": {"schema": {"type": "string"}}}
    extra = route.openapi_extra or {}
    extra["responses"]["200"] = {"description": "Its bytes.", "headers": headers, **content}
    extra["responses"]["206"] = {"description": "Some of its bytes.", **content}


def describe_submission(route: APIRoute, links: Mapping[str, str]) -> None:
    """Describe the POST; ``links`` names the operation id of each route that leads on from its answer."""
    problems = [400, 403, 409, 410, 413, 422, 429, 500, 503, 507, *([415] if is_form(route) else [])]
    linked = {name: _link(route.path_format, operation_id) for name, operation_id in links.items()}
    accepted = {"headers": SUBMITTED, "links": linked}
    finished = {"headers": {**SUBMITTED, "Content-Location": SUBMITTED["Location"]}, "links": linked}
    route.openapi_extra = {
        "parameters": [*_undescribed(route), *_headers(route)],
        "responses": {**_problems(problems), "200": finished, "202": accepted},
    }


def _undescribed(route: APIRoute) -> list[dict[str, Any]]:
    """The parameters in the path that no signature names."""
    known = set(_named(route.dependant, "path_params"))
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path_format)
        if name not in known
    ]


def _headers(route: APIRoute) -> list[Mapping[str, Any]]:
    """The fields that a submission may have, but those that the app's own signature names."""
    known = {name.lower() for name in _named(route.dependant, "header_params")}
    return [each for each in HEADERS if each["name"].lower() not in known]


def _named(dependant: Any, kind: str) -> Iterator[str]:
    yield from (each.alias for each in getattr(dependant, kind))
    for each in dependant.dependencies:
        yield from _named(each, kind)


def _problems(statuses: Iterable[int]) -> dict[str, Any]:
    return {str(status): _problem(status) for status in sorted(statuses)}


def _problem(status: int) -> dict[str, Any]:
    description = WHY.get(status) or HTTPStatus(status).phrase
    if status < 400:
        return {"description": description}
    return {"description": description, "content": {"application/problem+json": {"schema": PROBLEM}}}


def _link(path: str, operation_id: str) -> dict[str, Any]:
    parameters = {name: f"$request.path.{name}" for name in _PARAMETER.findall(path)}
    return {
        "operationId": operation_id,
        "parameters": {**parameters, "operation_id": "$response.body#/id"},
    }
