"""What the client's tests on Node talk to, with a page that loads the client."""

from __future__ import annotations

from fastapi.responses import HTMLResponse

from apps.work import app, live

__all__ = ["app", "live"]

PAGE = """<!doctype html>
<html lang="en"><title>Work</title><link rel="icon" href="data:,">
<script type="module">
  import * as client from "/-/client.js"
  window.client = client
</script>
"""


@app.get("/page")
def page() -> HTMLResponse:
    return HTMLResponse(PAGE)
