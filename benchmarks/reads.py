"""``python -m benchmarks.reads``: a GET through the wrapper against the same GET of the bare app.

Each round asks every row for a moment, in turn; a row's number is the median of its rounds, a ratio
the median of the rounds' ratios, so that what slows a whole round down slows both sides.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from . import wire
from .load import generate
from .server import Server, serving
from .table import machine, ratio, table
from .talk import Connection, socket_watcher

TARGET = "/orders/3"
FAST = ("--http", "restive.transports.uvicorn:Http", "--ws", "restive.transports.uvicorn:WebSocket")


@dataclass
class Row:
    """A request to one server, and what each round found: requests/s, CPU seconds of the server for each."""

    server: Server
    base: str
    tag: str | None = None
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def round(self, seconds: float, connections: int) -> None:
        """Ask for ``seconds``."""
        headers = {} if self.tag is None else {"if-none-match": self.tag}
        request = wire.request("GET", TARGET, headers)
        before = self.server.cpu()
        found = generate(self.server.port, request, seconds, connections)
        spent = self.server.cpu() - before
        self.rates.append(found["rate"])
        self.costs.append(spent / (found["rate"] * seconds))
        self.busy.append(found["cpu"])


def tag_of(server: Server) -> str:
    """The entity tag of the target."""
    connection = Connection(server.port)
    connection.send("GET", TARGET)
    head, _ = connection.answer()
    connection.close()
    return (wire.field(head, b"etag") or b"").decode()


def rows(stack: ExitStack) -> dict[str, Row]:
    """Start the servers."""

    def start(app: str, *options: str) -> Server:
        options = ("--ws-ping-interval", "1000", *options)
        return stack.enter_context(serving(f"benchmarks.apps:{app}", options=options))

    plain, live, watched = start("plain"), start("live_app"), start("live_app")
    bare, live_bare = start("bare"), start("live_bare")
    held, held_bare = start("public_app"), start("live_bare_public")
    fast, fast_bare = start("public_app", *FAST), start("live_bare_public", *FAST)
    passed = start("live_app", *FAST)
    for server in (watched, held, held_bare, fast, fast_bare):
        watcher = stack.enter_context(closing(socket_watcher(server.port, TARGET)))
        watcher.until(b'"version":0}')
    return {
        "FastAPI, bare": Row(plain, "FastAPI, bare"),
        "FastAPI, live: 200": Row(live, "FastAPI, bare"),
        "FastAPI, live: 304": Row(live, "FastAPI, bare", tag=tag_of(live)),
        "FastAPI, live and watched: 200": Row(watched, "FastAPI, bare"),
        "FastAPI, from memory: 200": Row(held, "FastAPI, bare"),
        "FastAPI, from memory: 304": Row(held, "FastAPI, bare", tag=tag_of(held)),
        "FastAPI, from memory, fast path: 200": Row(fast, "FastAPI, bare"),
        "FastAPI, from memory, fast path: 304": Row(fast, "FastAPI, bare", tag=tag_of(fast)),
        "FastAPI, live, fast path: 200": Row(passed, "FastAPI, bare"),
        "no framework, bare": Row(bare, "no framework, bare"),
        "no framework, live: 200": Row(live_bare, "no framework, bare"),
        "no framework, from memory: 200": Row(held_bare, "no framework, bare"),
        "no framework, from memory, fast path: 200": Row(fast_bare, "no framework, bare"),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds (9)")
    parser.add_argument("--seconds", type=float, default=1.2, help="seconds of each row in each round (1.2)")
    parser.add_argument("--connections", type=int, default=16, help="connections at once (16)")
    given = parser.parse_args()
    machine()
    with ExitStack() as stack:
        found = rows(stack)
        for row in found.values():
            row.round(0.3, given.connections)  # warm
            row.rates, row.costs, row.busy = [], [], []
        for _ in range(given.rounds):
            for row in found.values():
                row.round(given.seconds, given.connections)
    show(found)


def show(found: dict[str, Row]) -> None:
    """Print the table."""
    lines = []
    for name, row in found.items():
        base = found[row.base]
        cost, base_cost = statistics.median(row.costs), statistics.median(base.costs)
        relative = statistics.median(mine / its for mine, its in zip(row.rates, base.rates, strict=True))
        busy = f"{statistics.median(row.busy):.0%}"
        rate = statistics.median(row.rates)
        more = (cost - base_cost) * 1e6 or None
        lines.append((name, rate, f"{relative:.2f} x", cost * 1e6, ratio(cost, base_cost), more, busy))
    table(
        "GET through the wrapper against the bare app",
        ("", "requests/s", "/ bare", "server µs/request", "/ bare", "µs added", "generator's CPU"),
        lines,
    )


if __name__ == "__main__":
    main()
