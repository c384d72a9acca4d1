"""``restive changed``: announces a change from outside the app, through its backend or over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .exits import EXIT_FAILED, EXIT_START_UP, EXIT_UNREACHABLE, Failure, sentence
from .fields import URL


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--below", is_flag=True, help="Everything below the targets has changed as well.")
@click.option(
    "--backend",
    metavar="URL",
    help="The app's backend. Default: RESTIVE_BACKEND, else .restive/restive.db here.",
)
@click.option(
    "--name", default="restive", show_default=True, help="The app's name in the backend (its name= setting)."
)
@click.option("--url", type=URL, metavar="URL", help="Announce over HTTP instead, to the app at this URL.")
@click.option("--token", envvar="RESTIVE_ANNOUNCE_TOKEN", help="With --url: the app's announce_token=.")
@click.option("--prefix", default="/-", show_default=True, help="With --url: the app's prefix= setting.")
def changed(targets: tuple[str, ...], below: bool, url: str | None, **options: Any) -> None:
    """Say that the resources at TARGET... have changed, so that their watchers get the new state.

    A TARGET is a path as the app's clients see it, such as /orders/3.
    """
    from ..http.targets import normalize

    paths = [normalize(target).partition("?")[0] for target in targets]
    if url is None:
        _through_backend(paths, below, options["backend"], options["name"])
    else:
        _over_http(paths, below, url.rstrip("/") + options["prefix"] + "/changed", options["token"])


def _through_backend(paths: list[str], below: bool, backend: str | None, name: str) -> None:
    from ..announcements import pack
    from ..http.invalidation import Change
    from .backend import opened

    payload = pack(Change(path, below=below) for path in paths)
    with opened(_existing(backend), name) as store:
        store.announce(payload)


def _existing(option: str | None) -> str:
    """The URL of a backend that is there already; announcing in a new one would reach nobody."""
    from ..backends.location import resolve, sqlite_path
    from .backend import FILE, given_url

    url = given_url(option)
    if url is None:
        url = f"sqlite:///{_state_folder() / FILE}"
        missing = (
            f"There is no backend here ({_state_folder() / FILE}). Name it with --backend or RESTIVE_BACKEND."
        )
    else:
        missing = f"There is no backend at {url}. Is the app running, and is that its URL?"
    url = resolve(url)
    if url == "memory:":
        raise Failure(
            "Other processes do not see memory: . Serve the app with --backend sqlite:///path, or use --url.",
            EXIT_START_UP,
        )
    if not sqlite_path(url).exists():
        raise Failure(missing, EXIT_START_UP)
    return url


def _state_folder() -> Path:
    import os

    return Path(os.environ.get("RESTIVE_HOME") or ".restive").expanduser().absolute()


def _over_http(paths: list[str], below: bool, url: str, token: str | None) -> None:
    import httpx2

    if not token:
        raise Failure(
            "--url needs --token, the app's announce_token= (or RESTIVE_ANNOUNCE_TOKEN).", EXIT_FAILED
        )
    headers = {"Authorization": f"Bearer {token}"}
    try:
        response = httpx2.post(url, json={"changed": paths, "below": below}, headers=headers, timeout=30)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Failure(f"{url} cannot be reached: {sentence(error)}", EXIT_UNREACHABLE) from error
    if response.status_code == 404:
        raise Failure(f"{url} is not there: give the app an announce_token=.", EXIT_FAILED)
    if not response.is_success:
        raise Failure(f"{url} answers {response.status_code}. {_detail(response.text)}".strip(), EXIT_FAILED)


def _detail(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return ""
    return str(document.get("detail") or document.get("title") or "") if isinstance(document, dict) else ""
