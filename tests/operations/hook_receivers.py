"""Real receivers of webhooks, and ended operations to tell of."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from restive.backends.port import Backend
from restive.operations.declaration import Declaration, declare
from restive.operations.identity import new_identity
from restive.operations.notices import Notices
from restive.operations.record import OperationRecord
from restive.operations.store import Store
from restive.settings import Settings

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"
LOOPBACK = {"webhook_secret": SECRET, "webhook_networks": ["127.0.0.0/8"]}
PATIENCE = 20.0


@dataclass
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What a receiver answers. ``act`` may use the raw connection instead."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    act: Callable[[BaseHTTPRequestHandler], None] | None = None


class HookReceiver:
    """An HTTP server in threads; gives ``replies`` in order, the last one for ever."""

    def __init__(
        self, *replies: Reply, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.got: list[Got] = []
        self._replies = list(replies) or [Reply()]
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._answer(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server((host, port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        with self._news:
            reply = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
            self.got.append(Got(handler.path, {k.lower(): v for k, v in handler.headers.items()}, body))
            self._news.notify_all()
        if reply.act is not None:
            reply.act(handler)
            return
        handler.send_response(reply.status)
        for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body)

    def until(self, count: int) -> list[Got]:
        """What came, once it is that many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.got) >= count, PATIENCE), f"only {len(self.got)} came"
            return list(self.got)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def ended_operation(
    store: Store, *, declaration: str = "/digests", notify: bool = True, **members: Any
) -> OperationRecord:
    """An operation that has just succeeded, in the store with its notice."""
    now = store.clock()
    members = {"result": 7, "retention": 1e6, **members}
    queued = OperationRecord(
        id=new_identity(now, os.urandom),
        declaration=declaration,
        route=declaration,
        target=declaration,
        created=now,
        notify=notify,
        retention=members["retention"],
        webhook=members.get("webhook"),
    )
    store.create(queued, b"{}")
    store.update(queued.id, lambda it: it.claimed("me", now, 60.0))
    raw = msgspec.Raw(msgspec.json.encode(members["result"]))
    ended = store.update(queued.id, lambda it: it.ended("succeeded", now, result=raw))
    assert ended is not None
    return ended


def resolver(**names: Iterable[str]) -> Callable[[str, int], list[str]]:
    """A resolver that knows these names only; a dot is written ``_``."""

    def resolve(host: str, port: int) -> list[str]:
        try:
            return list(names[host.replace(".", "_")])
        except KeyError:
            raise OSError("there is no such name") from None

    return resolve


def eventually(holds: Callable[[], Any]) -> None:
    """Return once ``holds`` does; fail when it does not."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.005)


class Clock:
    """A time that is set."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Office:
    """One process's notices, as far as operations can tell."""

    def __init__(self, backend: Backend, clock: Callable[[], float], **options: Any) -> None:
        self.clock = clock
        self.backend = backend
        self.store = Store(lambda: backend, clock)
        self.declarations: dict[str, Declaration] = {}
        self.declare("/digests")
        settings = Settings(**{**LOOPBACK, **options.pop("settings", {})})
        self.notices = Notices(
            lambda: backend, self.store, self.declarations.get, settings,
            clock=clock, rng=lambda: 0.0, **options,
        )  # fmt: skip

    def declare(self, path: str, on_end: Any = None) -> None:
        def function() -> int:
            return 7

        self.declarations[path] = declare(path, function, on_end=on_end)

    def end(self, **members: Any) -> OperationRecord:
        """An operation ends, and its process looks for notices."""
        ended = ended_operation(self.store, **members)
        self.notices.wake()
        return ended

    def marks(self) -> list[str]:
        return [record.name for record in self.backend.scan("operation-notice/", limit=1000)]

    def pending(self) -> list[dict[str, Any]]:
        """What the notices say, once nobody is at any of them."""
        values: list[dict[str, Any]] = []

        def free() -> bool:
            found = self.backend.scan("operation-notice/", limit=1000)
            values[:] = [msgspec.json.decode(record.value or b"{}") for record in found]
            return not any("holder" in value for value in values)

        eventually(free)
        return values

    def settled(self) -> None:
        """Return once there is no notice any more."""
        eventually(lambda: not self.marks())

    def later(self, seconds: float) -> None:
        """Time passes. Only with a ``Clock``."""
        assert isinstance(self.clock, Clock)
        self.clock.now += seconds
        self.notices.wake()
