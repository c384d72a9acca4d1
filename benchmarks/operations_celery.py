"""The app of ``benchmarks.operations_elsewhere``: its functions run in Celery workers that import it too."""

from __future__ import annotations

import logging
import os

from celery import Celery
from fastapi import FastAPI

from restive import Restive

from .operations_work import NAME, short

celery = Celery("benchmark", broker=os.environ["BENCHMARK_BROKER"])
app = FastAPI(openapi_url=None)
live = Restive(app, name=NAME, engine=celery, max_queued=1_000_000, drain_operations=0.0)
logging.getLogger("restive").setLevel("ERROR")
live.operation("/elsewhere/short")(short)
