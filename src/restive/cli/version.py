"""``restive version``: what is installed, as it belongs into a bug report."""

from __future__ import annotations

import platform
from importlib import metadata

import click

PACKAGES = (
    "starlette",
    "fastapi",
    "uvicorn",
    "uvloop",
    "httpx2",
    "websockets",
    "msgspec",
    "redis",
    "nats-py",
    "psycopg",
    "celery",
    "distributed",
    "prometheus-client",
    "opentelemetry-api",
)


@click.command()
def version() -> None:
    """Print the versions of Restive, Python and the packages they work with."""
    from ..hub.fanout import NATIVE

    click.echo(f"restive {metadata.version('restive')}, its push loop in {'C' if NATIVE else 'Python'}")
    click.echo(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    for package in PACKAGES:
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            found = "not installed"
        click.echo(f"{package} {found}")
