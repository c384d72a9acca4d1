"""``restive watch``: prints each new state of a resource, one line of JSON each, until the watch ends."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from ..errors import WatchEnded
from .exits import EXIT_FAILED, Failure, told
from .fields import URL, connect_timeout_option, header_option, headers_of
from .output import write_json, write_text

if TYPE_CHECKING:
    from ..client import State

TRANSPORTS = ("auto", "websocket", "sse", "ndjson", "long-poll", "poll")


@click.command()
@click.argument("url", type=URL)
@click.option(
    "--transport",
    type=click.Choice(TRANSPORTS),
    default="auto",
    show_default=True,
    help="auto: the best that works.",
)
@header_option
@connect_timeout_option
@click.option(
    "--poll-interval",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds between two polls, where that is the transport.",
)
@click.option("--etag", metavar="TAG", help="The state that is known already; only later ones are printed.")
def watch(url: str, transport: str, etag: str | None, headers: tuple[str, ...], **times: float) -> None:
    """Print what a GET of URL answers, now and whenever it changes.

    Each state is a line of JSON; on a terminal it is laid out for reading. Exit status 0: the resource is
    final; 1: the server ended the watch (it is gone, or not for you); 4: the server cannot be reached.
    """
    try:
        asyncio.run(_watch(url, transport, etag, headers_of(headers), times))
    except WatchEnded as ended:
        problem = ended.problem
        said = f"The watch of {url} ended with {problem.status} {told(problem)}"
        raise Failure(said, EXIT_FAILED) from ended


async def _watch(
    url: str, transport: str, etag: str | None, headers: dict[str, str], times: dict[str, float]
) -> None:
    from ..client import AsyncClient

    client = AsyncClient(
        headers=headers, connect_within=times["connect_timeout"], poll_interval=times["poll_interval"]
    )
    async with client, client.watch(url, transport=transport, etag=etag) as states:
        async for state in states:
            _write(state)


def _write(state: State) -> None:
    """Text is a JSON string in a line, and as it is on a terminal; of bytes only the number is told."""
    if isinstance(state.data, bytes):
        write_json({"bytes": len(state.data)})
    elif state.text is not None and sys.stdout.isatty():
        write_text(state.text)
    else:
        write_json(state.data)
