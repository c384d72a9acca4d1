"""``restive operations list|show|cancel|delete``: the operations of a server, asked for over HTTP.

Each command asks once and ends. What it was asked for goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..errors import Problem, RequestRefused
from .exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNREACHABLE, Failure, printable, sentence, told
from .fields import URL, connect_timeout_option, header_option, headers_of
from .interrupt import CtrlC, Pressed, ask
from .output import write_json
from .overview import description, table

if TYPE_CHECKING:
    from ..client import AsyncClient, AsyncOperation, OperationState, Part

STATUSES = ("queued", "running", "succeeded", "failed", "canceled")
FINAL = {"succeeded", "failed", "canceled"}

QUESTION = "Delete, with parts and results? (y/n) [n]: "
NOBODY = "Nobody can be asked here: --yes deletes without."

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
urls_argument = click.argument("urls", metavar="URL...", type=URL, nargs=-1, required=True)


@click.group()
def operations() -> None:
    """List, show, cancel and delete the operations of a server.

    Exit status 0: done; 1: the server refused it; 4: the server cannot be reached.
    """


@operations.command("list")
@click.argument("url", type=URL)
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this status.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="The most that are listed."
)
@click.option("--urls", "only_urls", is_flag=True, help="Print their URLs only, one a line.")
@json_option
@header_option
@connect_timeout_option
def list_operations(url: str, as_json: bool, only_urls: bool, **options: Any) -> None:
    """List the operations at URL, newest first.

    URL is where they are submitted, such as http://localhost:8000/digests. There is a listing only where the
    operation is declared with owner=; name the credentials with -H.
    """
    if as_json and only_urls:
        raise click.UsageError("--json and --urls exclude each other.")
    found, more = asyncio.run(_listed(url, options))
    if as_json:
        write_json(found)
    elif only_urls:
        for each in found:
            click.echo(printable(each.url))
    elif found:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in table(found, datetime.now(UTC), width):
            click.echo(line)
    else:
        click.echo("There are none.", err=True)
    if more:
        click.echo(f"There are more than {options['limit']}: ask for more with --limit.", err=True)


async def _listed(url: str, options: dict[str, Any]) -> tuple[list[OperationState], bool]:
    """As many as are wanted, and whether there are more."""
    limit, found = options["limit"], []
    async with _asking(url, options) as client:
        listing = client.operations(url, status=options["status"], page=limit + 1)
        async with aclosing(listing) as documents:
            async for document in documents:
                found.append(document)
                if len(found) > limit:
                    break
    return found[:limit], len(found) > limit


@operations.command("show")
@click.argument("url", type=URL)
@json_option
@header_option
@connect_timeout_option
def show(url: str, as_json: bool, **options: Any) -> None:
    """Show all that is known of the operation at URL.

    With --json it is the operation's document, in which "parts" is the list of them.
    """
    document, parts = asyncio.run(_shown(url, options))
    if as_json:
        write_json({**document, "parts": [asdict(part) for part in parts]})
    else:
        click.echo(description(document, parts, datetime.now(UTC)))


async def _shown(url: str, options: dict[str, Any]) -> tuple[OperationState, list[Part]]:
    async with _asking(url, options) as client:
        operation = client.operation(url)
        document = await operation.status()
        if document["status"] not in STATUSES or "progress" not in document:
            raise Failure(f"{url} is no operation.")
        return document, [part async for part in operation.parts(follow=False)]


@operations.command("cancel")
@urls_argument
@header_option
@connect_timeout_option
def cancel(urls: tuple[str, ...], **options: Any) -> None:
    """Ask the server to cancel the operations at URL...

    It does not wait for them to end: a function that runs ends at its next report or check.
    """
    asyncio.run(_each(urls, _cancel, options))


async def _cancel(operation: AsyncOperation) -> str:
    status = (await operation.cancel())["status"]
    if status == "canceled":
        return "canceled"
    return f"had already {status}" if status in FINAL else f"{status}, asked to cancel"


@operations.command("delete")
@urls_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@header_option
@connect_timeout_option
def delete(urls: tuple[str, ...], yes: bool, **options: Any) -> None:
    """Delete the operations at URL..., with their parts and results.

    What still runs is canceled. On a terminal it asks first; anywhere else it needs --yes.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(NOBODY)
    asyncio.run(_delete_all(urls, yes, options))


async def _delete_all(urls: Sequence[str], yes: bool, options: dict[str, Any]) -> None:
    if yes or await _agreed(urls):
        await _each(urls, _delete, options)
    else:
        click.echo("Nothing was deleted.", err=True)
        raise click.exceptions.Exit(EXIT_FAILED)


async def _delete(operation: AsyncOperation) -> str:
    await operation.delete()
    return "deleted"


async def _agreed(urls: Sequence[str]) -> bool:
    for url in urls:
        click.echo(printable(url), err=True)
    try:
        with CtrlC() as ctrl_c:
            return await ask(ctrl_c, QUESTION) in {"y", "yes"}
    except Pressed:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except NotImplementedError:
        raise click.UsageError(NOBODY) from None


# Asking the server


@asynccontextmanager
async def _asking(url: str, options: dict[str, Any]) -> AsyncIterator[AsyncClient]:
    """A client; what the server refuses, or does not answer, ends the command."""
    import httpx2

    from ..client import AsyncClient

    headers = headers_of(options["headers"])
    try:
        async with AsyncClient(headers=headers, connect_within=options["connect_timeout"]) as client:
            yield client
    except RequestRefused as error:
        raise Failure(_refusal(url, error.problem), EXIT_FAILED) from error
    except httpx2.HTTPError as error:
        raise Failure(f"{url} cannot be reached: {sentence(error)}", EXIT_UNREACHABLE) from error


def _refusal(url: str, problem: Problem) -> str:
    return f"{url} answers {problem.status} {told(problem)}"


async def _each(
    urls: Sequence[str], act: Callable[[AsyncOperation], Awaitable[str]], options: dict[str, Any]
) -> None:
    """Do it to each, one after the other. One that is refused does not stop the others."""
    refused: list[Failure] = []
    for url in urls:
        try:
            async with _asking(url, options) as client:
                click.echo(f"{printable(url)}: {printable(await act(client.operation(url)))}")
        except Failure as failure:
            if failure.exit_code != EXIT_FAILED:
                raise
            failure.show()
            refused.append(failure)
    if refused:
        raise click.exceptions.Exit(EXIT_FAILED)
