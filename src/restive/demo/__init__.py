"""The demo that ``restive demo`` serves: a small shop, and a long job on a file of any size.

The shop (``orders.py``) and the counting (``counting.py``) know nothing of Restive. This file is
all that makes the one live and the other an operation.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from restive import Operation, Restive, Upload

from . import orders, page
from .counting import count_words, split
from .digest import Digest, Merge

__all__ = ["app"]

app = FastAPI(title="Restive demo")
app.include_router(orders.router)

live = Restive(app)


@live.operation("/digests", engine="processes", retries=1)
def digest(file: Upload, op: Operation) -> Digest:
    """Count the lines, bytes and words of a file, and its most frequent words."""
    merged = Merge(file.filename or "")
    for counts in op.map(count_words, split(file.path), unit="chunks"):
        op.part(f"{counts.chunk:04}.json", counts.document())
        merged.add(counts)
    return merged.digest()


@app.get("/", include_in_schema=False)
def index(request: Request) -> HTMLResponse:
    """What there is to try, with the lines to paste."""
    return HTMLResponse(page.render(str(request.base_url).rstrip("/")))
