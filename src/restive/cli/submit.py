"""``restive submit`` and ``restive follow``: starts an operation, shows how far it is, prints its result.

The result goes to stdout, everything else to stderr. Ctrl-C does not decide for the user: the operation
lives on the server, so it asks whether to cancel it there or to leave it running.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..errors import OperationCanceled, OperationFailed
from .display import Display, display
from .exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNREACHABLE, Failure, printable, sentence, told
from .fields import URL, Body, connect_timeout_option, header_option, headers_of, json_body, multipart
from .following import Following
from .interrupt import CtrlC, Pressed, ask_cancel
from .output import write_json

if TYPE_CHECKING:
    from ..client import AsyncClient

UPLOAD_FIELDS = "A form field; NAME=@FILE uploads a file, NAME=@- what stdin has."


@click.command()
@click.argument("url", type=URL)
@click.option("--field", "-F", "fields", multiple=True, metavar="NAME=VALUE", help=UPLOAD_FIELDS)
@header_option
@click.option("--json", "document", metavar="JSON", help="Send this JSON instead of a form; @FILE reads it.")
def submit(url: str, fields: tuple[str, ...], headers: tuple[str, ...], document: str | None) -> None:
    """Start the operation at URL and follow it to its end.

    Progress and the URLs of parts go to stderr, the result as JSON to stdout. Exit status 0: it succeeded;
    1: it failed or was canceled; 130: interrupted.
    """
    if document is not None and fields:
        raise click.UsageError("--json and --field exclude each other.")
    _run(_submit(url, fields, headers_of(headers), document))


@click.command()
@click.argument("url", type=URL)
@header_option
@connect_timeout_option
def follow(url: str, headers: tuple[str, ...], connect_timeout: float) -> None:
    """Attach to the operation at URL, from wherever you are, and follow it to its end.

    Output and exit status are those of ``submit``.
    """
    _run(_follow(url, headers=headers_of(headers), connect_within=connect_timeout))


def _run(work: Any) -> None:
    """Run to the end, with the exit status that its outcome has."""
    try:
        asyncio.run(work)
    except OperationCanceled as error:
        raise Failure("The operation was canceled.", EXIT_FAILED) from error
    except OperationFailed as error:
        raise Failure(f"The operation failed: {told(error.problem)}", EXIT_FAILED) from error


@dataclass
class Terminal:
    """Where an operation is followed: the client, the display on stderr, and Ctrl-C."""

    client: AsyncClient
    shown: Display
    ctrl_c: CtrlC


@asynccontextmanager
async def _terminal(**options: Any) -> AsyncIterator[Terminal]:
    from ..client import AsyncClient

    shown = display(sys.stderr)
    try:
        with CtrlC() as ctrl_c:
            async with AsyncClient(**options) as client:
                yield Terminal(client, shown, ctrl_c)
    finally:
        shown.close()


async def _submit(url: str, fields: tuple[str, ...], headers: dict[str, str], document: str | None) -> None:
    async with _terminal(headers=headers) as terminal:
        with ExitStack() as files:
            upload = _Upload(terminal)
            body = json_body(document) if document is not None else multipart(fields, files, upload.told)
            upload.size = body.size
            started = await upload.send(url, body)
        await _to_the_end(terminal, started)


async def _follow(url: str, **options: Any) -> None:
    async with _terminal(**options) as terminal:
        await _to_the_end(terminal, url)


class _Upload:
    """The request that starts an operation, and how much of it was sent."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._sent = 0
        self.size: int | None = None

    def told(self, count: int) -> None:
        self._sent += count
        self._terminal.shown.upload(self._sent, self.size)

    async def send(self, url: str, body: Body) -> Any:
        """The response that names the operation. Raises ``Failure`` for any other."""
        import httpx2

        # However long the upload takes, and the server's copying after it.
        timeout = httpx2.Timeout(None, connect=30.0)
        post = self._terminal.client.post(url, timeout=timeout, **body.arguments)
        try:
            response = await self._terminal.ctrl_c.until(post)
        except Pressed:
            self._terminal.shown.close()
            complete = self.size is not None and self._sent >= self.size
            said = "it may have been started" if complete else "nothing was started"
            click.echo(f"restive: interrupted before the server answered: {said}.", err=True)
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        except httpx2.HTTPError as error:
            raise Failure(f"{url} cannot be reached: {sentence(error)}", EXIT_UNREACHABLE) from error
        if response.is_error:
            raise Failure(f"{url} answers {response.status_code} {_problem(response)}".strip(), EXIT_FAILED)
        # 202 names it by Location; 200 (it has finished within `Prefer: wait`) by Content-Location.
        if not (response.status_code == 202 or "content-location" in response.headers):
            raise Failure(f"{url} answers {response.status_code} and starts no operation.", EXIT_FAILED)
        return response


def _problem(response: Any) -> str:
    """What an error response says for people: a problem document (RFC 9457) or FastAPI's detail."""
    try:
        document = response.json()
    except ValueError:
        return str(response.reason_phrase)
    if not isinstance(document, dict):
        return str(response.reason_phrase)
    detail = document.get("detail") or ""
    if isinstance(detail, list):  # FastAPI's validation errors
        detail = "; ".join(f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg')}" for each in detail)
    title = document.get("title") or response.reason_phrase
    return f"{title}: {detail}" if detail else str(title)


async def _to_the_end(terminal: Terminal, started: Any) -> None:
    """Follow an operation until it ends or the user goes."""
    following = Following(terminal.client.operation(started), terminal.shown)
    try:
        result = await terminal.ctrl_c.until(following.outcome())
    except Pressed:
        terminal.shown.close()
        await _leave(following, terminal.ctrl_c)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    terminal.shown.close()
    write_json(result)


async def _leave(following: Following, ctrl_c: CtrlC) -> None:
    click.echo(err=True)
    if not await ask_cancel(ctrl_c):
        click.echo(f"It goes on. Follow it with: restive follow {printable(following.url)}", err=True)
        return
    try:
        status = await ctrl_c.until(following.cancel())
    except Pressed:
        status = "asked to cancel, but not known to have ended"
    click.echo(f"The operation is {status}.", err=True)
