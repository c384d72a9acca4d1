"""``restive check``: what each route of an app is to watchers, found out by asking the app itself."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import click

from .exits import EXIT_FAILED, Failure
from .fields import headers_of
from .loading import load, search_in
from .routes import Route, routes_of
from .verdict import Verdict, unasked


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "--path", "paths", multiple=True, metavar="PATH", help="Ask for this as well, such as /orders/3."
)
@click.option(
    "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="A field of each GET."
)
@click.option("--look/--no-look", default=True, help="Whether to GET the paths without parameters.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--app-dir", default=".", show_default=True, metavar="FOLDER", help="Where the module is looked for."
)
def check(
    target: str, paths: tuple[str, ...], headers: tuple[str, ...], look: bool, as_json: bool, app_dir: str
) -> None:
    """Print for each route of MODULE:APP: watchable or not, shared or private, and what a change of it costs.

    The app is started and each GET without path parameters is asked for; --path names others. Shared: one
    look serves all watchers. Private: those whose requests are equal share one, so it is one for each user.
    """
    search_in(app_dir)
    app = load(target)
    live = _live(target, app)
    routes = routes_of(app)
    if not look:
        found: dict[str, Verdict] = {}
    else:
        logging.getLogger("restive").setLevel(logging.ERROR)
        found = asyncio.run(_ask(app, live, _askable(routes, paths), headers_of(headers)))
    rows = [_row(route, found) for route in routes]
    rows += [_row(Route(path, ("GET",)), found) for path in paths]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print(rows)


def _live(target: str, app: Any) -> Any:
    from restive import Restive

    live = app if isinstance(app, Restive) else getattr(app, "restive", None)
    if live is None:
        raise Failure(f"Nothing in {target} can be watched. Add to it: live = Restive(app)", EXIT_FAILED)
    return live


def _askable(routes: Sequence[Route], paths: Sequence[str]) -> list[str]:
    from ..http.targets import normalize

    return [route.path for route in routes if route.readable and not route.parameters] + [
        normalize(p) for p in paths
    ]


async def _ask(app: Any, live: Any, paths: Sequence[str], headers: dict[str, str]) -> dict[str, Verdict]:
    from .asking import Asking

    async with Asking(app, live, headers) as asking:
        return {path: await asking.verdict(path) for path in paths}


def _row(route: Route, found: dict[str, Verdict]) -> dict[str, Any]:
    verdict = found.get(route.path) or unasked(route)
    row: dict[str, Any] = {"path": route.path, "methods": list(route.methods)}
    if route.readable:
        row |= {
            "watchable": verdict.watchable,
            "sharing": verdict.sharing,
            "cost": verdict.cost,
            "why": verdict.why,
        }
    if route.changes:
        row["announces"] = list(route.changes)
    return row


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    readable = [row for row in rows if "watchable" in row]
    table = Table("GET", "watchable", "sharing", "a change costs", "why", box=None, pad_edge=False)
    for row in readable:
        watchable = {True: "yes", False: "no", None: "?"}[row["watchable"]]
        table.add_row(row["path"], watchable, row["sharing"], row["cost"], row["why"])
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    writes = Table("write", "announces", box=None, pad_edge=False)
    for row in rows:
        if row.get("announces"):
            methods = " ".join(
                method for method in row["methods"] if method not in {"GET", "HEAD", "OPTIONS"}
            )
            writes.add_row(f"{methods} {row['path']}", ", ".join(row["announces"]))
    if writes.row_count:
        console.print()
        console.print(writes)
