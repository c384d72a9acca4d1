"""An app whose operations run in workers of Celery; web nodes and workers import it.

The environment says where. ``node()`` makes one more web node of it.
"""

from __future__ import annotations

import json
import os
from typing import Any

import elsewhere_functions as here
import process_functions as functions
from celery import Celery
from fastapi import FastAPI

from restive import Restive

BACKEND = os.environ["ELSEWHERE_BACKEND"]
BROKER = os.environ["ELSEWHERE_BROKER"]
RESULTS = os.environ.get("ELSEWHERE_RESULTS") or None
QUEUE = os.environ["ELSEWHERE_QUEUE"]
ACKS_LATE = bool(os.environ.get("ELSEWHERE_ACKS_LATE"))
OPTIONS = json.loads(os.environ.get("ELSEWHERE_OPTIONS") or "{}")


def new_celery() -> Celery:
    """A Celery app as the environment wants it."""
    made = Celery("elsewhere", broker=BROKER, backend=RESULTS)
    made.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 1, **OPTIONS},
        task_default_queue=QUEUE,
        task_acks_late=ACKS_LATE,
        task_reject_on_worker_lost=ACKS_LATE,
        result_extended=True,
        worker_prefetch_multiplier=1,
    )
    return made


celery = new_celery()


DECLARED: dict[str, tuple[Any, dict[str, Any]]] = {
    "/doubles": (functions.double, {}),
    "/adoubles": (functions.adouble, {}),
    "/waits": (functions.until, {"timeout": None}),
    "/again": (functions.until, {"retries": 2, "backoff": 0}),
    "/awaits": (functions.auntil, {}),
    "/deaf": (functions.deaf, {}),
    "/late": (functions.deaf, {"timeout": 0.5}),
    "/parts": (functions.parts, {}),
    "/long": (functions.long, {}),
    "/copies": (here.copied, {}),
    "/sizes": (here.named, {}),
    "/halves": (here.halves, {"retries": 1, "backoff": 0}),
    "/odds": (here.at_odds, {"retries": 1, "backoff": 0}),
    "/failing": (here.failing, {"retries": 1, "backoff": 0}),
    "/refusing": (functions.refusing, {}),
    "/raising": (functions.raising, {}),
    "/mapping": (functions.mapping, {}),
    "/parted": (here.parted, {}),
    "/ticks": (here.ticking, {}),
    "/one": (functions.until, {"concurrency": 1}),
    "/owned": (functions.until, {"owner": here.owner}),
    "/brief": (functions.double, {"retention": 0.2}),
}


def node(engine: Any = None, app: Celery | None = None, **settings: Any) -> tuple[FastAPI, Restive]:
    """A web node, or what a worker imports."""
    made = FastAPI()
    live = Restive(
        made,
        **{
            "backend": BACKEND,
            "lease": float(os.environ.get("ELSEWHERE_LEASE", "3")),
            "parts": os.environ.get("ELSEWHERE_PARTS") or None,
            "report_interval": 0.02,
            "stop_grace": 0.5,
            "engine": celery if engine is None else engine,
            **settings,
        },
    )
    for path, (function, options) in DECLARED.items():
        live.operation(path, **options)(function)
    return made, live


if os.environ.get("ELSEWHERE_WORKER"):
    app, live = node()
