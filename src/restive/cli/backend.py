"""The backend of a command: which URL is meant, and that it can be opened now rather than later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ..backends import Backend, home, open_backend, resolve
from .exits import EXIT_START_UP, Failure

__all__ = ["FILE", "default_url", "given_url", "opened"]

FILE = "restive.db"


def given_url(option: str | None) -> str | None:
    """The URL of ``--backend``, else of ``RESTIVE_BACKEND``; None where neither names one."""
    url = option or os.environ.get("RESTIVE_BACKEND") or "auto"
    return None if url == "auto" else url


def default_url(app_folder: Path) -> str:
    """The file in the state folder of an app, which is made. Raises ``BackendUnavailable``."""
    folder = home(app_folder)
    os.environ.setdefault("RESTIVE_HOME", str(folder))
    return resolve(f"sqlite:///{quote((folder / FILE).as_posix(), safe='/:')}")


@contextmanager
def opened(url: str, name: str) -> Iterator[Backend]:
    """The backend at ``url``, which has answered once. Raises what it raises, with status 3 in mind."""
    try:
        backend = open_backend(url, name=name)
        backend.load("restive")
    except OSError as error:
        raise Failure(f"The backend {url} cannot be opened: {error.strerror}.", EXIT_START_UP) from error
    try:
        yield backend
    finally:
        backend.close()
