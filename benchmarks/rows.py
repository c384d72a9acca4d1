"""The rows that are not peers: the floor, FastAPI by hand, Restive by plain ASGI and on the fast path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace

from . import wire
from .case import Case, Kind, Load, Measured, Opening, compact, document
from .crowd_apps import Change
from .generator import built
from .server import running, serving

FAST = ("--http", "restive.transports.uvicorn:Http", "--ws", "restive.transports.uvicorn:WebSocket")
"""Options of uvicorn."""

Serve = Callable[[], AbstractContextManager[Measured]]


def cases(load: Load) -> list[Case]:
    """All of them but the floor: sockets first, then streams."""
    socket, stream = by_hand(load)
    sockets = [
        socket,
        _socket("Restive, WebSocket", load, _app("live_app", load)),
        _socket("Restive, WebSocket, fast path", load, _app("live_app", load, FAST)),
    ]
    streams = [
        stream,
        _stream("Restive, SSE", load, _app("live_app", load)),
        _stream("Restive, SSE, fast path", load, _app("live_app", load, FAST)),
    ]
    return sockets + streams


def by_hand(load: Load) -> list[Case]:
    """A socket and a stream."""
    return [_by_hand("FastAPI by hand, WebSocket", load), _by_hand("FastAPI by hand, SSE", load)]


def floor(load: Load) -> Case:
    """The bare loop of send(2), of the same states."""

    def change(version: int) -> bytes:
        states = (compact(document(version, number, load.size)) for number in range(load.resources))
        return wire.request("PUT", "/", body=b"\n".join(states))

    opening = Opening(wire.request("GET", "/watch"))
    return Case("a bare loop of send(2) in C", "stream", _floor, lambda _: opening, change, False, True)


def fast_socket(load: Load, app: str = "live_app") -> Case:
    """Restive's WebSocket on the fast path."""
    return _socket("Restive, WebSocket, fast path", load, _app(app, load, FAST))


def fast_stream(load: Load, app: str = "live_app") -> Case:
    """Restive's event stream on the fast path."""
    return _stream("Restive, SSE, fast path", load, _app(app, load, FAST))


def encrypted(load: Load, options: tuple[str, ...]) -> list[Case]:
    """Over TLS, with the options of uvicorn that name the certificate."""
    found = [
        _by_hand("FastAPI by hand, WebSocket, TLS", load, options),
        _socket("Restive, WebSocket, fast path, TLS", load, _app("live_app", load, (*FAST, *options))),
        _stream("Restive, SSE, fast path, TLS", load, _app("live_app", load, (*FAST, *options))),
    ]
    return [replace(case, tls=True) for case in found]


def changes(load: Load) -> Callable[[int], bytes]:
    """The one request that changes everything that is watched."""

    def change(version: int) -> bytes:
        given = Change(version, load.resources, mine=load.private)
        return wire.request("POST", "/changes", document=asdict(given))

    return change


def credentials(load: Load, number: int) -> dict[str, str]:
    """The fields by which the watcher ``number`` is known."""
    return {"authorization": f"Bearer {number}"} if load.private else {}


def _socket(name: str, load: Load, serve: Serve) -> Case:
    frames = b"".join(map(wire.watch, _targets(load)))

    def opening(number: int) -> Opening:
        return Opening(wire.handshake("/-/live", credentials(load, number)), frames)

    return Case(name, "socket", serve, opening, changes(load))


def _stream(name: str, load: Load, serve: Serve) -> Case:
    targets = _targets(load)
    target = f"{targets[0]}?live=sse"
    if len(targets) > 1:
        target = "/-/live?" + "&".join(f"watch={each}" for each in targets) + "&live=sse"

    def opening(number: int) -> Opening:
        return Opening(wire.request("GET", target, credentials(load, number)))

    return Case(name, "stream", serve, opening, changes(load))


def _by_hand(name: str, load: Load, options: tuple[str, ...] = ()) -> Case:
    socket = "WebSocket" in name
    ask, target = (wire.handshake, "/watch") if socket else (lambda *it: wire.request("GET", *it), "/stream")

    def opening(number: int) -> Opening:
        return Opening(ask(target, credentials(load, number)))

    serve = _app("app", load, options, "crowd_by_hand")
    kind: Kind = "socket" if socket else "stream"
    return Case(name, kind, serve, opening, changes(load), first=load.resources == 1)


def _targets(load: Load) -> list[str]:
    return ["/mine"] if load.private else [f"/orders/{number}" for number in range(load.resources)]


def _app(name: str, load: Load, options: tuple[str, ...] = (), module: str = "crowd_apps") -> Serve:
    environment = {"CROWD_SIZE": str(load.size)}
    tls = "--ssl-certfile" in options
    return lambda: serving(f"benchmarks.{module}:{name}", options=options, environment=environment, tls=tls)


@contextmanager
def _floor() -> Iterator[Measured]:
    with running([built("floor")]) as server:
        yield server
