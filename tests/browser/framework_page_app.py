"""What the pages of the frameworks talk to: the app of the client's tests, and a card that is HTML.

`/built/…` are the files in the folder that ``BUILT`` names.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi.responses import FileResponse, HTMLResponse

from apps.work import app, live

__all__ = ["app", "live"]

BUILT = Path(os.environ["BUILT"])
quantities = {3: 2}


@app.get("/built/{name}")
def built(name: str) -> FileResponse:
    return FileResponse(BUILT / name)


@app.get("/orders/{number}/card", response_class=HTMLResponse)
def card(number: int) -> str:
    return f"<b>{quantities[number]}</b> cups\nof tea"


@app.put("/orders/{number}")
def write(number: int, quantity: int) -> None:
    quantities[number] = quantity
    live.changed(f"/orders/{number}/card")
