"""socketify (uWebSockets): a topic for each channel, and its latest state. Runs in an environment of its own.

    python uwebsockets_server.py --port PORT

GET /ready answers 200. A WebSocket to /watch/3 or /watch/1,2,3 is a watcher. PUT /orders takes a JSON list
of states; each is published on the topic of its ``number``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from socketify import App, AppListenOptions, CompressOptions, OpCode

latest: dict[str, str] = {}


def upgrade(response: Any, request: Any, context: Any) -> None:
    """Take the channels from the path along."""
    given = (request.get_header(f"sec-websocket-{name}") for name in ("key", "protocol", "extensions"))
    response.upgrade(*given, context, request.get_parameter(0))


def opened(socket: Any) -> None:
    """The first states, and the topics."""
    for channel in socket.get_user_data().split(","):
        socket.send(latest[channel], OpCode.TEXT)
        socket.subscribe(channel)


def write(response: Any, _request: Any) -> None:
    """Publish each state, once the body is whole."""
    body = bytearray()

    def more(_response: Any, piece: bytes | None, whole: bool) -> None:
        body.extend(piece or b"")
        if whole:
            publish(json.loads(body))
            response.end("")

    response.on_data(more)


def publish(states: list[dict[str, Any]]) -> None:
    """Each on its topic; all of them leave in this turn of the loop."""
    for state in states:
        channel, text = str(state["number"]), json.dumps(state, separators=(",", ":"))
        latest[channel] = text
        app.publish(channel, text, OpCode.TEXT)


app = App()
quiet = {"compression": CompressOptions.DISABLED, "idle_timeout": 0}
app.ws("/watch/:channels", {**quiet, "upgrade": upgrade, "open": opened})
app.put("/orders", write)
app.get("/ready", lambda response, _request: response.end("ok"))
app.listen(AppListenOptions(port=int(sys.argv[-1]), host="127.0.0.1"))
# No coroutine is used here, and app.run() asks its two loops in turn, without waiting, after each event.
app.loop.uv_loop.run()
