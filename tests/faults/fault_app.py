"""The app of the crash tests: every kind of operation, below ``/{engine}/{retries}/{kind}``.

Configured by the environment: FAULTS_SETTINGS (JSON), FAULTS_ENGINES (names, joined by commas), FAULTS_POINT
(see ``points``).
"""

from __future__ import annotations

import json
import os
import threading
import time

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from faults import points
from faults.fault_work import TIMEOUT, WORK
from faults.journal import SLOW, note
from restive import Restive

app = FastAPI()
live = Restive(app, **json.loads(os.environ.get("FAULTS_SETTINGS", "{}")))


def user(request: HTTPConnection) -> str | None:
    return request.headers.get("x-user")


def declare() -> None:
    """All of them, or those that are asked for: many routes take a server long to start."""
    kinds = os.environ.get("FAULTS_KINDS", ",".join(WORK)).split(",")
    for engine in os.environ.get("FAULTS_ENGINES", "threads,processes").split(","):
        for retries in map(int, os.environ.get("FAULTS_RETRIES", "0,2").split(",")):
            for kind in kinds:
                if kind == "leave" and engine == "threads":
                    continue
                options = {"engine": engine, "retries": retries, "timeout": TIMEOUT.get(kind)}
                live.operation(f"/{engine}/{retries}/{kind}", owner=user, backoff=0.1, **options)(WORK[kind])


def keep_watch() -> None:
    """Write down when this process got no processor for a while: a lease may be lost by that."""
    while True:
        before = time.monotonic()
        time.sleep(0.05)
        late = time.monotonic() - before - 0.05
        if late > SLOW:
            note("late", seconds=round(late, 2))


declare()
points.set_up()
threading.Thread(target=keep_watch, daemon=True).start()
