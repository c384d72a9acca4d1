"""``restive serve`` and ``restive demo``: an app under uvicorn, with the settings that several workers need.

What would only fail in a worker is tried here first, so that it ends with status 3 and one line that
says what to do: the app's import, the backend, the port.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from .exits import EXIT_START_UP, Failure
from .loading import folder_of, load, search_in

LEVELS = ("critical", "error", "warning", "info", "debug", "trace")
HOST, PORT = "127.0.0.1", 8000


@dataclass(frozen=True)
class Server:
    """How uvicorn is to run."""

    host: str
    port: int
    workers: int = 1
    reload: bool = False
    log_level: str = "info"
    app_dir: str = "."
    root_path: str = ""
    forwarded_allow_ips: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_keyfile_password: str | None = field(default=None, repr=False)
    timeout_graceful_shutdown: int | None = None


_host = click.option("--host", default=HOST, show_default=True, help="Address to listen at.")
_port = click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen at; 0: any free one.",
)
_backend = click.option(
    "--backend",
    metavar="URL",
    help="memory: or sqlite:///path. Default: RESTIVE_BACKEND, else a file in .restive/ beside the app.",
)
_level = click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(LEVELS),
    help="Least level that is logged.",
)


@click.command()
@click.argument("target", metavar="MODULE:APP")
@_host
@_port
@click.option(
    "--workers",
    default=1,
    envvar="WEB_CONCURRENCY",
    show_default=True,
    type=click.IntRange(1),
    help="Processes.",
)
@_backend
@click.option("--reload", is_flag=True, help="Restart when a file changes; for development.")
@_level
@click.option(
    "--app-dir", default=".", show_default=True, metavar="FOLDER", help="Where the module is looked for."
)
@click.option("--root-path", default="", metavar="PATH", help="Path below which a proxy serves the app.")
@click.option(
    "--forwarded-allow-ips",
    metavar="LIST",
    help="Proxies whose X-Forwarded-* is believed. Default: 127.0.0.1.",
)
@click.option("--ssl-certfile", metavar="FILE", help="Certificate chain (PEM): serve https and wss.")
@click.option("--ssl-keyfile", metavar="FILE", help="Its key (PEM), where it is in another file.")
@click.option(
    "--ssl-keyfile-password", envvar="UVICORN_SSL_KEYFILE_PASSWORD", help="Password of an encrypted key."
)
@click.option(
    "--timeout-graceful-shutdown",
    metavar="SECONDS",
    type=click.IntRange(0),
    help="Time that requests under way get at the end. Default: any.",
)
def serve(target: str, backend: str | None, workers: int, reload: bool, **options: Any) -> None:
    """Serve the app MODULE:APP, such as shop:app.

    Exit status 3: the app, the backend or the port could not be had.
    """
    if reload and workers > 1:
        raise click.UsageError("--reload and --workers exclude each other.")
    server = Server(workers=workers, reload=reload, **options)
    try_certificate(server)
    search_in(server.app_dir)
    choose_backend(backend, folder_of(target))
    if not reload:
        warn_if_plain(target, load(target))
    run(target, server)


@click.command()
@_host
@_port
@_backend
@_level
def demo(host: str, port: int, backend: str | None, log_level: str) -> None:
    """Serve the demo: a small shop at /orders, a long job at /digests.

    What it keeps lies in .restive/ in the current folder.
    """
    choose_backend(backend, Path.cwd())
    load("restive.demo:app")
    if port:
        try_port(host, port)
        click.echo(GREETING.format(url=f"http://{_authority(host)}:{port}"), err=True)
    run("restive.demo:app", Server(host, port, log_level=log_level))


GREETING = """\
The demo is at {url} . Try, in another terminal:

    restive watch {url}/orders/3
    curl -X PUT {url}/orders/3 -H 'Content-Type: application/json' \\
         -d '{{"item": "green tea", "quantity": 3, "status": "shipped"}}'
    restive submit {url}/digests -F file=@any-file-of-yours
"""


def choose_backend(given: str | None, app_folder: Path) -> None:
    """Settle the backend for this process and its workers, in the environment.

    Raises ``SettingError`` or ``BackendUnavailable`` where it cannot be opened.
    """
    from .backend import default_url, given_url, opened

    url = given_url(given) or default_url(app_folder)
    with opened(url, "restive"):
        os.environ["RESTIVE_BACKEND"] = url


def warn_if_plain(target: str, app: Any) -> None:
    """Say so where nothing in the app can be watched, since that is easily forgotten."""
    from restive import Restive

    if not isinstance(app, Restive) and not getattr(app, "restive", None):
        click.echo(f"restive: nothing in {target} can be watched. Add to it: live = Restive(app)", err=True)


def run(target: str, server: Server) -> None:
    """Serve until a signal ends it."""
    from . import running

    if server.port:
        try_port(server.host, server.port)
    options = asdict(server)
    search_in(options.pop("app_dir"))
    running.run(running.Config(target, **options, **fast_path()))


def fast_path() -> dict[str, Any]:
    """Options of uvicorn that let connections be taken over, where this uvicorn is as expected."""
    try:
        from ..transports.uvicorn import Http, WebSocket
    except ImportError as error:
        logging.getLogger("restive").warning("Without the fast path: %s", error)
        return {}
    return {"http": Http, "ws": WebSocket}


def try_certificate(server: Server) -> None:
    """Raises ``Failure`` where TLS is wanted and its files cannot be used."""
    if server.ssl_certfile is None:
        if server.ssl_keyfile is not None:
            raise click.UsageError("--ssl-keyfile needs --ssl-certfile.")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With a password in any case, since OpenSSL would ask the terminal for one.
        context.load_cert_chain(server.ssl_certfile, server.ssl_keyfile, server.ssl_keyfile_password or "")
    except OSError as error:  # ssl.SSLError is one
        files = " and ".join(filter(None, (server.ssl_certfile, server.ssl_keyfile)))
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise Failure(
            f"{files} cannot be used for TLS: {reason or 'no certificate, no key, or a wrong password'}. "
            "See --ssl-certfile, --ssl-keyfile and --ssl-keyfile-password.",
            EXIT_START_UP,
        ) from error


def try_port(host: str, port: int) -> None:
    """Raises ``Failure`` where nothing can listen at that address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Failure(
            f"{_authority(host)}:{port} cannot be used: {error.strerror}. Choose another --port or --host.",
            EXIT_START_UP,
        ) from error


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host else host
