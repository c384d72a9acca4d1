"""The app of ``benchmarks.operations``: ``POST /threads/short?number=1`` and the like, for each engine."""

from __future__ import annotations

import logging
import os

from fastapi import FastAPI

from restive import Restive

from .operations_work import FUNCTIONS, NAME

ENGINES = ("threads", "processes")

interval = float(os.environ.get("BENCHMARK_INTERVAL", "0.1"))
app = FastAPI(openapi_url=None)
live = Restive(
    app,
    name=NAME,
    workers=int(os.environ["BENCHMARK_WORKERS"]),
    max_queued=1_000_000,
    report_interval=interval,
    min_interval=min(0.05, interval),
    drain_operations=0.0,
)

logging.getLogger("restive").setLevel("ERROR")  # retries are what the crash is about
for engine in ENGINES:
    for function, run in FUNCTIONS.items():
        live.operation(f"/{engine}/{function}", engine=engine, retries=1, backoff=0)(run)
