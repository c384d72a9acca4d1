"""``python -m benchmarks.delay``: from PUT to the push at one watcher, for each transport.

All rows take turns within each round, so that they meet the same weather on the machine.
"""

from __future__ import annotations

import argparse
import random
import time
from contextlib import ExitStack, closing

from .apps import order
from .case import mark
from .echo import echoing
from .rows import FAST
from .server import serving
from .table import machine, quantile, ratio, table
from .talk import Connection, LongPoll, Watcher, socket_watcher, stream_watcher

FLOOR, HAND = "floor: PUT, then an echo by websockets", "FastAPI by hand, websocket"
ECHO, SPOKEN = "an echo by websockets, alone", "changed() in the app, websocket, fast path"
TRANSPORTS = ("websocket", "sse", "ndjson", "long-poll")
FAST_TRANSPORTS = ("websocket", "sse")
NO_PINGS = ("--ws-ping-interval", "1000")  # the watchers here are too simple to answer them


class Row:
    """A watcher, the connection that writes, and how long each push took."""

    def __init__(self, port: int, target: str, watcher: Watcher) -> None:
        self._writer = Connection(port)
        self._target = target
        self._watcher = watcher
        watcher.until(b'"version":0}')
        self.samples: list[float] = []

    def step(self, version: int) -> None:
        """One PUT."""
        begin = time.perf_counter()
        self._writer.send("PUT", self._target, document=order(version))
        self._watcher.until(b'"version":%d}' % version)
        self.samples.append(time.perf_counter() - begin)
        self._writer.answer()


class Floor:
    """The PUT alone, without a watcher, and then a round trip over a bare WebSocket."""

    def __init__(self, port: int, echo: int) -> None:
        self._writer = Connection(port)
        self._echo = socket_watcher(echo, "", opens="/")
        self.samples: list[float] = []

    def step(self, version: int) -> None:
        """One PUT and one echo."""
        begin = time.perf_counter()
        self._writer.send("PUT", "/orders/9", document=order(version))
        self._writer.answer()
        self._echo.say(b'{"version":%d}' % version)
        self._echo.until(b'"version":%d}' % version)
        self.samples.append(time.perf_counter() - begin)


class Echo:
    """A round trip over a bare WebSocket."""

    def __init__(self, port: int) -> None:
        self._echo = socket_watcher(port, "", opens="/")
        self.samples: list[float] = []

    def step(self, version: int) -> None:
        """One echo."""
        begin = time.perf_counter()
        self._echo.say(b'{"version":%d}' % version)
        self._echo.until(b'"version":%d}' % version)
        self.samples.append(time.perf_counter() - begin)


class Spoken:
    """The change is a message on a socket of the app's own, as short as an echo; it calls ``changed()``."""

    def __init__(self, port: int) -> None:
        self._speaker = socket_watcher(port, "", opens="/tell")
        self._watcher = socket_watcher(port, "/orders/0")
        self._watcher.until(mark(0))
        self.samples: list[float] = []

    def step(self, version: int) -> None:
        """One message, until the push."""
        begin = time.perf_counter()
        self._speaker.say(b"%d" % version)
        self._watcher.until(mark(version))
        self.samples.append(time.perf_counter() - begin)


def watcher(transport: str, port: int, target: str) -> Watcher:
    """One watcher of ``target``."""
    if transport == "websocket":
        return socket_watcher(port, target)
    if transport == "long-poll":
        return LongPoll(port, target)
    return stream_watcher(port, f"{target}?live={transport}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="pushes per row (300)")
    parser.add_argument("--pause", type=float, default=0.025, help="seconds between two pushes (0.025)")
    given = parser.parse_args()
    machine()
    with ExitStack() as stack:
        live = stack.enter_context(serving("benchmarks.apps:live_app", options=NO_PINGS)).port
        plain = stack.enter_context(serving("benchmarks.apps:plain", options=NO_PINGS)).port
        hand = stack.enter_context(serving("benchmarks.apps:hand_made", options=NO_PINGS)).port
        echo = stack.enter_context(echoing()).port
        fast = stack.enter_context(serving("benchmarks.apps:live_app", options=(*NO_PINGS, *FAST))).port
        app = stack.enter_context(serving("benchmarks.crowd_apps:live_app", options=(*NO_PINGS, *FAST))).port
        rows: dict[str, Row | Floor | Echo | Spoken] = {FLOOR: Floor(plain, echo), ECHO: Echo(echo)}
        watching: dict[str, tuple[int, str, Watcher]] = {
            HAND: (hand, "/orders/1", socket_watcher(hand, "", opens="/watch"))
        }
        for number, transport in enumerate(TRANSPORTS):
            target = f"/orders/{number}"
            watching[transport] = (live, target, watcher(transport, live, target))
            if transport in FAST_TRANSPORTS:
                watching[f"{transport}, fast path"] = (fast, target, watcher(transport, fast, target))
        for name, (port, target, waiting) in watching.items():
            stack.enter_context(closing(waiting))
            rows[name] = Row(port, target, waiting)
        rows[SPOKEN] = Spoken(app)
        for version in range(1, given.rounds + 1):
            for row in rows.values():
                # Uneven, so that no row always meets what another left behind.
                time.sleep(given.pause * random.uniform(0.5, 1.5))
                row.step(version)
    show({name: row.samples for name, row in rows.items()})


def show(samples: dict[str, list[float]]) -> None:
    """Print the table."""
    peers = [quantile(samples[name], 0.5) for name in (FLOOR, HAND, ECHO)]
    lines = []
    for name, taken in samples.items():
        middle = quantile(taken, 0.5)
        ratios = (ratio(middle, peer) for peer in peers)
        lines.append((name, middle * 1e3, quantile(taken, 0.99) * 1e3, *ratios))
    columns = ("", "p50 ms", "p99 ms", "p50 / floor", "/ by hand", "/ echo")
    table("From PUT to the push at one watcher", columns, lines)


if __name__ == "__main__":
    main()
