"""An app whose state all nodes of one machine share: a file. What is timed is the way between the nodes."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restive import Restive

STATE = Path(os.environ["NODES_STATE"])
RECORD = 16
"""Bytes of one counter in the file."""


async def read(request: Request) -> Response:
    """One counter."""
    with STATE.open("rb") as file:
        file.seek(RECORD * int(request.path_params["number"]))
        return Response(b'{"version":%d}' % int(file.read(RECORD)), media_type="application/json")


async def write(request: Request) -> Response:
    """Set it."""
    with STATE.open("r+b") as file:
        file.seek(RECORD * int(request.path_params["number"]))
        file.write(b"%016d" % int(await request.body()))
    return Response(status_code=204)


app = Starlette(
    routes=[
        Route("/counters/{number:int}", read),
        Route("/counters/{number:int}", write, methods=["PUT"]),
    ]
)
live = Restive(app)
