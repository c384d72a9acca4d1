"""What may be declared, and what is refused with the way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, Query, Request, Response, UploadFile, WebSocket
from fastapi.security import SecurityScopes
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from restive.errors import SettingError
from restive.operations import Operation, Operations

pytestmark = pytest.mark.parametrize("backend", ["memory"], indirect=True)


class Plain:
    """No JSON."""


class WithFile(BaseModel):
    file: UploadFile


class WithSecret(BaseModel):
    password: SecretStr


def session() -> Iterator[int]:
    yield 1


async def async_session():
    yield 1


def plain() -> Plain:
    return Plain()


def takes_request(value: Request) -> None: ...
def takes_websocket(value: WebSocket) -> None: ...
def takes_response(value: Response) -> None: ...
def takes_background(value: BackgroundTasks) -> None: ...
def takes_plain(value: Plain) -> None: ...
def takes_plain_union(value: Plain | None = None) -> None: ...
def takes_path_object(value: Annotated[Any, Depends(plain)]) -> None: ...
def takes_class(value: Annotated[Plain, Depends()]) -> None: ...
def takes_session(value: Annotated[int, Depends(session)]) -> None: ...
def takes_async_session(value: int = Depends(async_session)) -> None: ...
def takes_with_file(value: WithFile) -> None: ...
def takes_secret(value: SecretStr) -> None: ...
def takes_with_secret(value: WithSecret) -> None: ...
def takes_args(*value: int) -> None: ...
def takes_kwargs(**value: int) -> None: ...
def takes_positional(value: int, /) -> None: ...
def takes_two(one: Operation, value: Operation) -> None: ...
def takes_unknown(value: Nowhere) -> None: ...  # noqa: F821
def yields(value: int) -> Iterator[int]:
    yield value


def returns_response(value: int) -> Response: ...
def returns_plain(value: int) -> Plain: ...


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (takes_request, "in a dependency"),
        (takes_websocket, "in a dependency"),
        (takes_response, "answers by itself"),
        (takes_background, "call the function"),
        (takes_plain, "Pydantic model or a dataclass"),
        (takes_plain_union, "Pydantic model or a dataclass"),
        (takes_path_object, "Pydantic model or a dataclass"),
        (takes_class, "Pydantic model or a dataclass"),
        (takes_session, "open it in the function"),
        (takes_async_session, "open it in the function"),
        (takes_with_file, "parameter of its own"),
        (takes_secret, "look it up in the function"),
        (takes_with_secret, "look it up in the function"),
        (takes_args, "write each one out"),
        (takes_kwargs, "write each one out"),
        (takes_positional, "write each one out"),
        (takes_two, "one is enough"),
        (takes_unknown, "Nowhere"),
        (yields, "op.part"),
        (returns_response, "op.part"),
        (returns_plain, "Pydantic model or a dataclass"),
        ("no function", "is a function"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_the_way_out(bench, function, hint):
    with pytest.raises(SettingError, match=hint):
        bench.operations.declare("/x", function)
    assert not bench.operations


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("x", {}),
        ("/x/", {}),
        ("/{operation_id}/x", {}),
        ("/{part_name}", {}),
        ("/x", {"retention": -1}),
        ("/x", {"colour": "red"}),
    ],
)
def test_declarations_that_cannot_work_are_refused(bench, path, options):
    with pytest.raises(SettingError):
        bench.operations.declare(path, lambda: None, **options)


def test_a_path_is_declared_once(bench):
    bench.operations.declare("/x", lambda: None)
    with pytest.raises(SettingError, match="already"):
        bench.operations.declare("/x", lambda: None)


class Colour(Enum):
    red = "r"


@dataclasses.dataclass
class Box:
    width: int
    when: datetime


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")
    first: int = Field(alias="FIRST")
    second: int = Field(validation_alias="in", serialization_alias="out")


class User(BaseModel):
    name: str


def current_user(request: Request) -> User:
    return User(name=request.headers["x-user"])


def twice(number: int) -> int:
    return number * 2


def paging(skip: int = 0, limit: int = 10) -> dict[str, int]:
    return {"skip": skip, "limit": limit}


async def test_values_are_the_same_where_the_function_runs(bench):
    seen: dict[str, Any] = {}

    @bench.operation("/values")
    def take(
        colour: Colour,
        uuid: UUID,
        boxes: list[Box],
        aliased: Aliased,
        user: Annotated[User, Depends(current_user)],
        doubled: Annotated[int, Depends(twice)],
        page: Annotated[dict[str, int], Depends(paging)],
        scopes: Annotated[float, Query(gt=0)] = float("inf"),
        folder: Path = Path("/tmp"),
    ) -> None:
        seen.update(locals())

    uuid = "8f14e45f-ceea-467f-a8c1-2b5d6f1a9e10"
    body = {"boxes": [{"width": 3, "when": "2026-01-01T00:00:00Z"}], "aliased": {"FIRST": 1, "in": 2}}
    final = await bench.run(
        f"/values?colour=r&uuid={uuid}&number=4&skip=5", json=body, headers={"X-User": "ann"}
    )
    assert final["status"] == "succeeded", final
    assert seen["colour"] is Colour.red
    assert seen["uuid"] == UUID(uuid)
    assert seen["boxes"][0].width == 3
    assert isinstance(seen["boxes"][0], Box)
    assert (seen["aliased"].first, seen["aliased"].second) == (1, 2)
    assert seen["user"] == User(name="ann")
    assert (seen["doubled"], seen["page"]) == (8, {"skip": 5, "limit": 10})
    assert seen["scopes"] == float("inf")
    assert seen["folder"] == Path("/tmp")


async def test_a_dependency_without_annotation_gives_json(bench):
    def untyped():
        return {"a": [1]}

    @bench.operation("/values")
    def take(value=Depends(untyped)) -> Any:  # noqa: B008
        return value

    assert (await bench.run("/values"))["result"] == {"a": [1]}


async def test_a_dependency_whose_value_is_no_json_is_a_clear_problem(bench):
    def untyped():
        return Plain()

    @bench.operation("/values")
    def take(value=Depends(untyped)) -> None: ...  # noqa: B008

    response = await bench.client.post("/values")
    assert response.status_code == 422
    assert "'value'" in response.json()["detail"]


async def test_a_yield_dependency_may_guard(bench):
    steps = []

    def guard():
        steps.append("open")
        yield
        steps.append("close")

    @bench.operation("/guarded", dependencies=[Depends(guard)])
    def run() -> None: ...

    await bench.client.post("/guarded")
    assert steps == ["open", "close"]


def test_security_scopes_are_refused(bench):
    def scoped(scopes: SecurityScopes) -> None: ...

    with pytest.raises(SettingError):
        bench.operations.declare("/x", scoped)


async def test_a_plain_starlette_app_gets_them_beside_it(new_bench):
    host = new_bench().host
    operations = Operations(host)
    own = Starlette(routes=[Route("/hello", lambda _: PlainTextResponse("hello"))])
    operations.mount(own)

    def one(number: int) -> int:
        return number

    operations.declare("/ones", one)

    async def both(scope, receive, send):
        await (operations.beside(scope) or own)(scope, receive, send)

    for root in ("", "/root"):
        transport = httpx2.ASGITransport(both, root_path=root)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
            response = await client.post(f"{root}/ones?number=3", headers={"Prefer": "wait=5"})
            assert response.json()["result"] == 3
            assert response.headers["content-location"].startswith(f"{root}/ones/")
            assert (await client.get(response.headers["content-location"])).status_code == 200
            assert (await client.get("/hello")).text == "hello"
            assert (await client.get("/docs")).status_code == 404
    operations.drain(5)
