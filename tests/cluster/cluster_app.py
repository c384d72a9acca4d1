"""The app of each node: orders in files that all nodes share, and one operation that publishes parts.

``x-node`` says which node has answered. The environment has CLUSTER_STORE (a folder) and CLUSTER_NODE.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response

from restive import Operation, Restive

STORE = Path(os.environ["CLUSTER_STORE"])
NODE = os.environ["CLUSTER_NODE"]

app = FastAPI()
live = Restive(app, parts=str(STORE / "parts"), drain=0.5, lease=5.0)


@app.middleware("http")
async def name_node(request: Request, call_next: Any) -> Response:
    response = await call_next(request)
    response.headers["x-node"] = NODE
    return response


@app.get("/orders/{name}")
def read(name: str) -> Any:
    try:
        return json.loads((STORE / name).read_bytes())
    except FileNotFoundError:
        return {"quantity": 0}


@app.put("/orders/{name}")
def write(name: str, order: dict[str, Any]) -> Any:
    new = STORE / f"{name}.new"
    new.write_text(json.dumps(order))
    new.replace(STORE / name)
    return order


@app.get("/client")
def client(request: Request) -> Any:
    """What the app knows of who asks."""
    told = {name: request.headers.get(name) for name in ("x-forwarded-user", "host")}
    return {"scheme": request.url.scheme, "client": request.client and request.client.host, **told}


@live.operation("/digests")
def digest(steps: int, op: Operation) -> str:
    for number in range(1, steps + 1):
        op.part(f"{number}.txt", f"part {number}")
        op.report(number, steps, unit="steps")
        time.sleep(0.05)
    return "done"
