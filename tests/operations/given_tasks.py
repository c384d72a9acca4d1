"""Tasks of Celery that know nothing of Restive."""

from __future__ import annotations

import functools
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from celery import Celery
from pydantic import BaseModel


def new_celery() -> Celery:
    made = Celery("given", broker=os.environ["ELSEWHERE_BROKER"], backend=os.environ["ELSEWHERE_RESULTS"])
    made.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 1},
        task_default_queue=os.environ["ELSEWHERE_QUEUE"],
        task_track_started=bool(os.environ.get("GIVEN_TRACK", "1")),
        result_extended=bool(os.environ.get("GIVEN_EXTENDED", "1")),
        worker_prefetch_multiplier=1,
    )
    return made


celery = new_celery()
task = functools.partial(celery.task, shared=False)


class Size(BaseModel):
    width: int
    height: int = 1


@task()
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@task()
def later(when: datetime, days: int = 1) -> str:
    return f"{type(when).__name__} {when:%Y}"


@task(pydantic=True)
def area(size: Size) -> int:
    return size.width * size.height


@task(bind=True)
def thumbnails(self: Any, path: str, count: int = 3) -> dict[str, int]:
    for number in range(count):
        meta = {"current": number + 1, "total": count, "status": f"at {number}"}
        self.update_state(state="PROGRESS", meta=meta)
    while not Path(path).exists():
        time.sleep(0.01)
    return {"made": count}


@task()
def raising() -> None:
    raise LookupError("secret words")


@task(bind=True, max_retries=3)
def flaky(self: Any, path: str) -> int:
    retries: int = self.request.retries
    if retries < 2:
        with Path(path).open("a") as file:
            file.write("x")
        raise self.retry(exc=OSError("secret words"), countdown=0.3)
    return retries


@task()
def long(size: int) -> str:
    return "x" * size


@task()
def odd() -> int:
    return "not a number"  # type: ignore[return-value]


@task()
def counted(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("x")
