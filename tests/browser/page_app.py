"""The shop of the scenarios with a page: an empty one, which loads the client for the tests to play on.

``PUT /tokens`` names the tokens that ``/vault`` takes from now on; ``/me`` says whom the cookie names.
"""

from __future__ import annotations

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from apps.shop import app, live, shop

__all__ = ["app", "live"]

PAGE = """<!doctype html>
<html lang="en"><title>Page</title><link rel="icon" href="data:,">
<script type="module">
  import * as client from "/-/client.js"
  window.client = client
</script>
"""


@app.get("/page")
def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


@app.put("/tokens")
def tokens(names: list[str]) -> None:
    shop.allowed = {f"Bearer {name}" for name in names}
    live.changed("/vault/3")


@app.get("/me")
def me(request: Request) -> dict[str, str]:
    if "name" not in request.cookies:
        raise HTTPException(401)
    return {"name": request.cookies["name"]}


@app.put("/session/{name}")
def log_in(name: str, response: Response) -> None:
    response.set_cookie("name", name)
