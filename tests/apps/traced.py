"""An app that traces, with an SDK set up as users do, and tells which spans there were.

``TRACED_SETTINGS`` (JSON): the settings of Restive. ``TRACED_SDK=no``: without an SDK. ``TRACED_HOOK``: the
URL that is told of ends.
"""

from __future__ import annotations

import json
import os
from typing import Any

from fastapi import Body, FastAPI
from opentelemetry import trace

from restive import Operation, Restive

SDK = os.environ.get("TRACED_SDK") != "no"

if SDK:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

app = FastAPI()
live = Restive(app, **json.loads(os.environ.get("TRACED_SETTINGS", "{}")))
notices: list[str] = []
orders = {3: 1}


def here() -> str:
    """The trace that this is part of, and the span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def piece(item: int) -> str:
    return here()


def told(document: dict[str, Any]) -> None:
    notices.append(here())


OPTIONS: dict[str, Any] = {"webhook": os.environ.get("TRACED_HOOK"), "on_end": told}
OPTIONS = {name: value for name, value in OPTIONS.items() if value is not None}


def work(op: Operation, fail: int = 0) -> dict[str, Any]:
    pieces = list(op.map(piece, range(8), unit="pieces"))
    op.part("one.txt", "1")
    if op.attempt <= fail:
        raise RuntimeError("wanted")
    with trace.get_tracer("app").start_as_current_span("mine"):
        op.part(f"{op.attempt}.txt", "2")
    op.report(message="done")
    return {"here": here(), "pieces": pieces, "pid": os.getpid()}


@live.operation("/threads", retries=1, backoff=0.0, **OPTIONS)
def threads(op: Operation, fail: int = 0) -> dict[str, Any]:
    return work(op, fail)


@live.operation("/processes", engine="processes", **OPTIONS)
def processes(op: Operation) -> dict[str, Any]:
    return work(op)


@live.operation("/coroutines", **OPTIONS)
async def coroutines(op: Operation) -> dict[str, Any]:
    with trace.get_tracer("app").start_as_current_span("mine"):
        op.part("1.txt", "2")
    return {"here": here(), "pieces": [], "pid": os.getpid()}


@app.get("/orders/{number}")
def read(number: int) -> int:
    with trace.get_tracer("app").start_as_current_span("read"):
        return orders[number]


@app.put("/orders/{number}")
def write(number: int, value: int = Body()) -> int:
    orders[number] = value
    return value


@live.never
@app.get("/spans")
def spans() -> dict[str, Any]:
    """All spans of this process that have ended, and where ``on_end`` was called."""
    found = exporter.get_finished_spans() if SDK else ()
    return {
        "notices": notices,
        "spans": [
            {
                "name": span.name,
                "kind": span.kind.name,
                "trace": f"{span.context.trace_id:032x}",
                "span": f"{span.context.span_id:016x}",
                "parent": f"{span.parent.span_id:016x}" if span.parent else None,
                "links": [f"{link.context.span_id:016x}" for link in span.links],
                "events": [event.name for event in span.events],
                "attributes": dict(span.attributes or {}),
                "failed": span.status.status_code.name == "ERROR",
            }
            for span in found
        ],
    }
