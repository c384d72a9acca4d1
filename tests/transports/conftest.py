"""Servers whose connections are taken over, on every loop and with TLS."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from restive.door.socket import Sockets
from scenarios.servers import Serve, ThreadServer
from transports.bare_client import Raw


@pytest.fixture
def fast() -> bool:
    """Connections are taken over from uvicorn."""
    return True


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, chain, both = folder / "key.pem", folder / "chain.pem", folder / "both.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    )
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + chain.read_bytes())
    return both


@dataclass
class Carriage:
    """A way to carry bytes to the server: a loop of asyncio's or libuv's, plain or encrypted."""

    config: dict[str, Any]
    tls: ssl.SSLContext | None
    serve: Serve = field(repr=False)

    def start(self, app: Any, **config: Any) -> ThreadServer:
        """Serve ``app`` this way."""
        return self.serve(app, **{**self.config, **config})

    def raw(self, server: ThreadServer, **options: Any) -> Raw:
        """A connection to it."""
        return Raw(server.port, tls=self.tls, **options)


@pytest.fixture(params=["asyncio", "uvloop", "asyncio-tls", "uvloop-tls"])
def carriage(request: pytest.FixtureRequest, serve: Serve, certificate: Path) -> Carriage:
    """Every way."""
    loop, _, secure = request.param.partition("-")
    config: dict[str, Any] = {"loop": loop}
    if not secure:
        return Carriage(config, None, serve)
    config["ssl_certfile"] = str(certificate)
    return Carriage(config, ssl.create_default_context(cafile=certificate), serve)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The handshakes that reached the front door, by their paths."""
    seen: list[str] = []
    serve = Sockets.serve

    async def counted(self: Sockets, scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await serve(self, scope, receive, send)

    monkeypatch.setattr(Sockets, "serve", counted)
    return seen
