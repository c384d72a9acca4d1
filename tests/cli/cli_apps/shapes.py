"""Routes of every kind, for ``restive check``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.security import HTTPBearer

from restive import Restive


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "hello"}


app = FastAPI(lifespan=lifespan, openapi_url=None)
router = APIRouter(prefix="/shop")


@router.get("/public")
def public(response: Response) -> int:
    response.headers["Cache-Control"] = "public, max-age=60"
    return 1


@router.get("/items/{number}")
def item(number: int) -> int:
    return number


@router.put("/items/{number}")
def put_item(number: int) -> int:
    return number


@router.delete("/items/{number}")
def delete_item(number: int) -> None: ...


app.include_router(router)


@app.get("/mine", dependencies=[Depends(HTTPBearer())])
def mine() -> int:
    return 1


@app.get("/cookie")
def cookie(response: Response) -> int:
    response.set_cookie("a", "b")
    return 1


@app.get("/events")
def events() -> StreamingResponse:
    return StreamingResponse(iter([b"data: 1\n\n"]), media_type="text/event-stream")


@app.get("/image")
def image() -> Response:
    return Response(b"\x89PNG", media_type="image/png")


@app.get("/moved")
def moved() -> RedirectResponse:
    return RedirectResponse("/mine")


@app.get("/forever")
def forever(response: Response) -> int:
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return 1


live = Restive(app)


@app.get("/admin/secret")
def secret() -> int:
    return 1


live.never("/admin/*")
