"""What the tests of the command line serve: a resource, and operations that end in every way."""

from __future__ import annotations

import threading
from typing import Annotated

from fastapi import FastAPI, Form, Header, HTTPException, Response

from restive import Operation, Restive, Upload

app = FastAPI()
live = Restive(app, announce_token="secret", settle=0.1)
things: dict[str, object] = {"a": {"n": 0}, "text": None}


@app.get("/things/{name}")
def read(name: str) -> object:
    if name not in things:
        raise HTTPException(404, f"There is no thing {name}.")
    return things[name]


@app.put("/things/{name}")
def write(name: str, value: dict[str, object]) -> object:
    things[name] = value
    return value


@app.delete("/things/{name}", status_code=204)
def delete(name: str) -> None:
    del things[name]


@app.post("/quiet/{name}", include_in_schema=False)
def write_quietly(name: str, value: dict[str, object]) -> None:
    """Changes a thing that is not below this target, so that nobody is told."""
    things[name] = value


@app.get("/final")
def final(response: Response) -> dict[str, bool]:
    response.headers["Cache-Control"] = "max-age=31536000, immutable"
    return {"final": True}


@app.get("/page")
def page() -> Response:
    return Response("two\nlines\x1b[31m", media_type="text/plain")


@live.operation("/lengths")
def lengths(file: Upload, times: Annotated[int, Form()], op: Operation) -> dict[str, object]:
    for number in range(times):
        op.part(f"{number}.txt", f"part {number}")
        op.report(completed=number + 1, total=times, unit="rounds")
    return {"name": file.filename, "size": file.path.stat().st_size}


@live.operation("/sums")
def sums(numbers: list[int], op: Operation) -> int:
    return sum(numbers)


@live.operation("/failing")
def failing(op: Operation) -> None:
    raise ValueError("it cannot be done")


@live.operation("/endless")
def endless(op: Operation) -> None:
    op.part("first.txt", "begun")
    while True:
        op.check()
        threading.Event().wait(0.02)


def user(x_user: Annotated[str, Header()]) -> str:
    return x_user


@live.operation("/alone", owner=user, concurrency=1)
@live.operation("/tasks", owner=user)
def task(end: str, op: Operation) -> dict[str, str]:
    op.report(completed=3, total=8, unit="chunks", message="at work")
    op.part("notes.txt", "some notes")
    if end == "fail":
        raise ValueError("it cannot be done")
    while end == "never":
        op.check()
        threading.Event().wait(0.02)
    return {"end": end}
