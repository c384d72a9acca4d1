"""Operations of every kind, each of which writes down what it does.

``token`` is drawn by each run anew: the result shows whose it is. The bytes of a part depend on the operation
and its name only, so that a second attempt makes the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faults.journal import note
from restive import Operation, Problem, Upload


@contextmanager
def life(op: Operation) -> Iterator[dict[str, Any]]:
    """Write down the beginning and the end; the yielded result names the run."""
    result = {"attempt": op.attempt, "token": uuid.uuid4().hex}
    note("begin", op.id, op.attempt, token=result["token"])
    try:
        yield result
    except BaseException as error:
        note("ended", op.id, op.attempt, how=type(error).__name__)
        raise
    note("returned", op.id, op.attempt)


def step(op: Operation, number: int, steps: int) -> None:
    op.report(number, steps, unit="steps")
    note("step", op.id, op.attempt, number=number)


def content(op: Operation, name: str) -> str:
    return f"{op.id} {name} " * 50


def publish(op: Operation, name: str, data: str) -> None:
    asked = time.monotonic()
    op.part(name, data)
    note("published", op.id, op.attempt, name=name, asked=asked)


def count(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    with life(op) as result:
        for number in range(1, steps + 1):
            time.sleep(pace)
            step(op, number, steps)
        return result


def collect(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    """Parts that an earlier attempt may have published: every other one is made again all the same."""
    with life(op) as result:
        for number in range(1, steps + 1):
            time.sleep(pace)
            name = f"{number}.txt"
            if number % 2 or op.published(name) is None:
                publish(op, name, content(op, name))
            step(op, number, steps)
        return result


def follow(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    """One part, written bit by bit."""
    with life(op) as result:
        asked = time.monotonic()
        with op.part("log.txt") as file:
            for number in range(1, steps + 1):
                time.sleep(pace)
                file.write(content(op, str(number)).encode())
                step(op, number, steps)
        note("published", op.id, op.attempt, name="log.txt", asked=asked)
        return result


def square(pair: tuple[int, float]) -> int:
    number, pace = pair
    time.sleep(pace)
    return number * number


def spread(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    with life(op) as result:
        found = list(op.map(square, [(number, pace) for number in range(steps)], unit="squares"))
        assert sorted(found) == [number * number for number in range(steps)]
        return result


async def wait(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    with life(op) as result:
        for number in range(1, steps + 1):
            await asyncio.sleep(pace)
            step(op, number, steps)
        return result


def digest(file: Upload, expected: str, steps: int, pace: float, op: Operation) -> dict[str, Any]:
    """Reads an upload, which is there in each attempt as it was sent."""
    with life(op) as result:
        for number in range(1, steps + 1):
            time.sleep(pace)
            if hashlib.sha256(file.path.read_bytes()).hexdigest() != expected:
                raise ValueError("the upload is not what was sent")
            step(op, number, steps)
        return result


def fail(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    """Raises in its first two attempts."""
    with life(op) as result:
        for number in range(1, steps + 1):
            time.sleep(pace)
            step(op, number, steps)
        if op.attempt <= 2:
            raise LookupError("not yet")
        return result


def hang(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    """Does not end in its first attempt, and does not listen."""
    with life(op) as result:
        step(op, 1, steps)
        if op.attempt == 1:
            threading.Event().wait(10)
        return result


def leave(steps: int, pace: float, op: Operation) -> dict[str, Any]:
    """Ends its process in its first attempt."""
    with life(op) as result:
        time.sleep(pace)
        step(op, 1, steps)
        if op.attempt == 1:
            os._exit(3)
        return result


def babble(steps: int, pace: float, op: Operation) -> Any:
    """Reports nonsense, is refused each time, and returns what cannot be stored."""
    with life(op):
        for bad in ({"completed": math.nan}, {"completed": -1}, {"total": "many"}, {"message": 7}):
            try:
                op.report(**bad)
            except (ValueError, TypeError):
                note("step", op.id, op.attempt)
        for name in ("..", "a/b", "x" * 300):
            try:
                op.part(name, "nothing")
            except Problem:
                note("step", op.id, op.attempt)
        return threading.Lock()


WORK = {
    each.__name__: each for each in (count, collect, follow, spread, wait, digest, fail, hang, leave, babble)
}

TIMEOUT = {"hang": 1.0}
