"""What the TypeScript client's tests talk to. `POST /_/…` moves it on; `/_/log` says what it got."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from restive import Operation, Restive, Upload

app = FastAPI()
live = Restive(app, requests=True, settle=0.1, recheck=0.5, min_interval=0.01, hello=60.0, wait=2.0)

log: Counter[str] = Counter()
tokens = {"good"}
gate = asyncio.Event()


def bearer(authorization: Annotated[str, Header()] = "") -> None:
    if authorization.removeprefix("Bearer ") not in tokens:
        raise HTTPException(401, "No such token.")


rooms = live.stream("/rooms/{room}/messages")
notes = live.stream("/notes/{name}", content_type="text/plain", writable=True)
blobs = live.stream("/blobs/{name}", content_type="application/octet-stream", writable=True)
secrets = live.stream("/secrets/{name}", dependencies=[Depends(bearer)])
short = live.stream("/short/{name}", keep=2)


@app.post("/_/say/{room}")
async def say(room: str, items: list[Any], close: bool = False) -> None:
    if items:
        await rooms.append_many(items, room=room)
    if close:
        await rooms.close(room=room)


@app.post("/_/secrets/{name}")
async def whisper(name: str, items: list[Any]) -> None:
    await secrets.append_many(items, name=name)


@app.post("/_/short/{name}")
async def shorten(name: str, items: list[Any]) -> None:
    for item in items:
        await short.append(item, name=name)


@app.post("/_/tokens")
async def renew(names: list[str]) -> None:
    tokens.clear()
    tokens.update(names)


@app.get("/_/log")
async def shown(response: Response) -> dict[str, int]:
    response.headers["cache-control"] = "no-store"
    return dict(log)


@live.operation("/counts")
def count(file: Upload, op: Operation, hold: float = 0) -> dict[str, int]:
    """Counts the lines of a file; each is a part."""
    log["counts"] += 1
    lines = file.path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        op.part(f"{number}.json", {"line": line})
        op.report(number, len(lines), unit="lines")
        until = time.monotonic() + hold
        while time.monotonic() < until:
            time.sleep(0.01)
            op.check()
    return {"lines": len(lines)}


@live.operation("/sums")
def add(numbers: list[int], op: Operation) -> int:
    """Adds numbers."""
    log["sums"] += 1
    op.check()
    if not numbers:
        raise HTTPException(418, "nothing")
    return sum(numbers)


@live.operation("/long")
def long(op: Operation) -> str:
    """Returns more than its document holds."""
    op.check()
    return "x" * 100_000


document: dict[str, Any] = {"n": 1}


@app.get("/document")
async def read() -> Any:
    log["get"] += 1
    return document


@app.put("/document")
async def write(given: dict[str, Any]) -> Any:
    log["put"] += 1
    document.clear()
    document.update(given)
    return document


@app.delete("/document", status_code=204)
async def delete() -> None:
    log["delete"] += 1


@app.api_route("/reflect", methods=["GET", "POST", "PUT", "PATCH"])
async def reflect(request: Request) -> dict[str, Any]:
    log[request.method] += 1
    wait = request.query_params.get("wait")
    if wait:
        await asyncio.sleep(float(wait))
    fields = dict(request.headers.items())
    body = (await request.body()).decode("latin-1")
    return {"method": request.method, "fields": fields, "body": body}


@app.get("/text")
async def text() -> Response:
    return PlainTextResponse("grüße\n", headers={"x-two": "a"})


@app.get("/null")
async def null() -> None:
    return None


@app.api_route("/bytes", methods=["GET", "POST"])
async def data() -> Response:
    log["bytes"] += 1
    return Response(b"\x00\xff", media_type="application/octet-stream")


@app.api_route("/moved", methods=["GET", "PUT"])
async def moved() -> Response:
    return RedirectResponse("/document", 307)


@app.post("/moved")
async def posted() -> Response:
    return RedirectResponse("/document", 303)


@app.api_route("/login", methods=["GET", "POST"])
async def login() -> Response:
    log["login"] += 1
    return PlainTextResponse("in", headers={"set-cookie": "sid=1"})


@app.get("/guarded", dependencies=[Depends(bearer)])
async def guarded() -> str:
    return "yes"
