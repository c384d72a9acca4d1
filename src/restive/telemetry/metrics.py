"""All metrics of Restive. docs/observe.md has the same list; a test holds them equal.

Labels take few values: a transport, a reason, a declared path; never a client's own words. What is counted
often is held here by name, so that counting looks nothing up.
"""

from __future__ import annotations

from .instruments import Counter, Gauge, Histogram, Metric

__all__ = ["ALL", "LONG_POLL", "NDJSON", "SSE", "WEBSOCKET", "Traffic", "appended"]

QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
"""Upper ends of buckets, in seconds."""

# Clients

clients = Gauge("restive_clients", "Live connections that are open now.", ["transport"])
connections = Counter("restive_connections", "Live connections that were opened.", ["transport"])
watches = Gauge("restive_watches", "Resources that clients watch now; a client may watch several.")
resources = Gauge("restive_resources", "URIs that are watched now.")
renderings = Gauge("restive_renderings", "Different renderings of them; each costs looks of its own.")
refused = Counter("restive_refused", "Connections and requests that were refused or cut off.", ["reason"])

# Looks and pushes

look_seconds = Histogram(
    "restive_look_duration_seconds",
    "Time that a look took: a GET that Restive makes by itself.",
    ["reason", "outcome"],
    QUICK,
)
looks_waiting = Gauge("restive_looks_waiting", "Looks that wait for their turn.")
pushes = Counter("restive_pushes", "States and other events that were sent to clients.", ["transport"])
pushed_bytes = Counter(
    "restive_pushed_bytes", "Bytes of what was sent to live clients, before TLS.", ["transport"]
)
skipped = Counter(
    "restive_skipped_states",
    "States that a client was not told, since a newer one came before it took them.",
    ["transport"],
)

# Backend

backend_up = Gauge(
    "restive_backend_up", "1 while the backend answers, 0 while it does not.", ["engine"], combine=min
)
backend_seconds = Histogram(
    "restive_backend_call_duration_seconds", "Time that a backend call took.", ["engine", "call"], QUICK
)
backend_errors = Counter(
    "restive_backend_errors", "Backend calls that failed for the backend's fault.", ["engine", "call"]
)
announcements = Counter(
    "restive_announcements",
    "Announcements that were sent, and heard, a process's own among them.",
    ["direction"],
)
announcements_lost = Counter(
    "restive_announcements_lost",
    "Times at which announcements may have been lost, and everything watched was looked at again.",
)
lag_seconds = Histogram(
    "restive_announcement_lag_seconds",
    "Time from sending an announcement until this process heard it back from the backend.",
    [],
    QUICK,
)

# Operations

operations = Gauge("restive_operations", "Operations that wait or run in this process.", ["status"])
submitted = Counter("restive_operations_submitted", "Operations that were accepted.", ["operation"])
ended = Counter("restive_operations_ended", "Operations that became final.", ["operation", "status"])
wait_seconds = Histogram(
    "restive_operation_wait_duration_seconds",
    "Time from the earliest start of an attempt to its start.",
    ["operation"],
    LONG,
)
run_seconds = Histogram(
    "restive_operation_run_duration_seconds",
    "Time that an attempt ran; outcome retried: another one follows.",
    ["operation", "outcome"],
    LONG,
)
parts = Counter("restive_operation_parts", "Parts that were published.", ["operation"])
part_bytes = Counter("restive_operation_part_bytes", "Bytes of these parts.", ["operation"])
notices = Counter("restive_operation_notices", "Attempts to tell a webhook or on_end of an end.", ["outcome"])

# Streams

appends = Counter("restive_stream_appends", "Appends to streams that were acknowledged.", ["stream"])
stream_items = Counter("restive_stream_items", "Items of these appends.", ["stream"])
stream_bytes = Counter("restive_stream_bytes", "Bytes of these items.", ["stream"])
followers = Gauge("restive_stream_followers", "Live readers of streams.")

# The process

build_info = Gauge(
    "restive_build_info",
    "Always 1; the labels say what runs.",
    ["version", "python", "push_loop"],
    combine=max,
)

native = False
"""Whether the loop that pushes is C's; told by ``hub.fanout``."""

ALL: tuple[Metric, ...] = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
"""In the order in which they are exported."""


class Traffic:
    """What is counted of one transport, at hand: nothing is looked up for each write."""

    __slots__ = ("connections", "name", "pushed_bytes", "pushes", "skipped")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = connections.of(name)
        self.pushes = pushes.of(name)
        self.pushed_bytes = pushed_bytes.of(name)
        self.skipped = skipped.of(name)

    def pushed(self, events: int, size: int) -> None:
        """Count ``events`` that were written together, ``size`` bytes in all."""
        self.pushes.value += events
        self.pushed_bytes.value += size


WEBSOCKET, SSE, NDJSON = Traffic("websocket"), Traffic("sse"), Traffic("ndjson")
LONG_POLL = Traffic("long-poll")


def appended(stream: str, items: int, size: int) -> None:
    """Count an acknowledged append of ``items``, ``size`` bytes in all; ``stream`` is the declared path."""
    appends.of(stream).value += 1
    stream_items.of(stream).value += items
    stream_bytes.of(stream).value += size
