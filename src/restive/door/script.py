"""The client for pages, ``/-/client.js``: one file, built from clients/typescript and shipped with Restive.

It is revalidated at each use, so that a page and its server are never of two versions for long.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..http.fields import Fields, get
from ..http.validators import make_tag, none_match
from ..transports.answers import body, merged, start
from ..transports.outlet import Send
from .core import Core, Scope

FILE = Path(__file__).parents[1] / "client_js" / "client.js"


@cache
def script() -> tuple[bytes, str]:
    """The file and its entity tag, read on first use."""
    data = FILE.read_bytes()
    return data, make_tag(data)


async def serve_script(core: Core, scope: Scope, send: Send) -> None:
    """Answer a GET or HEAD."""
    data, tag = script()
    asked = get(tuple(scope["headers"]), b"if-none-match")
    # Pages of other origins load it where they may watch.
    policy = b"cross-origin" if core.settings.allow_origins else b"same-origin"
    fields: Fields = (
        (b"etag", tag.encode()),
        (b"cache-control", b"no-cache"),
        (b"cross-origin-resource-policy", policy),
        (b"x-content-type-options", b"nosniff"),
    )
    fields = merged(fields, core.cors(scope))
    if asked is not None and none_match(asked, tag):
        await send(start(304, fields))
        await send(body(b""))
        return
    whole = (b"content-type", b"text/javascript; charset=utf-8"), (b"content-length", b"%d" % len(data))
    await send(start(200, (*whole, *fields)))
    await send(body(b"" if scope["method"] == "HEAD" else data))
