"""``-F name=value``, ``-F name=@file``, ``-H "Name: value"``, ``--json``: what curl users type, as a request.

Files are streamed from disk as they are sent; ``Sent`` counts their bytes on the way.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import click

__all__ = [
    "URL",
    "Body",
    "Sent",
    "connect_timeout_option",
    "header_option",
    "headers_of",
    "json_body",
    "multipart",
]

Told = Callable[[int], None]


class Sent:
    """Reads a stream and tells how much was read. Of a pipe nothing can be known beforehand."""

    def __init__(self, stream: BinaryIO, told: Told) -> None:
        self._stream, self._told = stream, told

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._told(len(data))
        return data


class SentFile(Sent):
    """A regular file, whose length the HTTP client asks for."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)


class HttpUrl(click.ParamType[str]):
    """An http or https URL; one without a scheme is http, as with curl."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        url = value if "://" in value else f"http://{value}"
        try:
            parts = urlsplit(url)
            good = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or any(ord(c) <= ord(" ") for c in url):
            self.fail(f"{value!r} is no http or https URL.", param, ctx)
        return url


URL = HttpUrl()

header_option = click.option(
    "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header."
)
connect_timeout_option = click.option(
    "--connect-timeout",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds after which a server that does not answer at all is given up.",
)


@dataclass
class Body:
    """What is submitted: the arguments for the client's ``post``, and the bytes of its files, if known."""

    arguments: dict[str, Any] = field(default_factory=dict)
    size: int | None = 0


def headers_of(lines: Iterable[str]) -> dict[str, str]:
    """``Name: value`` lines as a mapping. Raises ``click.UsageError``."""
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or "\n" in line or "\r" in line:
            raise click.UsageError(f"{line!r} is no header: write 'Name: value'.")
        headers[name.strip()] = value.strip()
    return headers


def multipart(fields: Iterable[str], files: ExitStack, told: Told) -> Body:
    """The form that the ``-F`` fields make; ``files`` closes what is opened. Raises ``click.UsageError``."""
    body = Body({"data": {}, "files": []})
    for given in fields:
        name, equals, value = given.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{given!r} is no field: write name=value or name=@file.")
        if value.startswith("@"):
            _add_file(body, name, value[1:], files, told)
        else:
            body.arguments["data"].setdefault(name, []).append(value)
    return body


def _add_file(body: Body, name: str, value: str, files: ExitStack, told: Told) -> None:
    path, media_type, filename = _file_options(value)
    stream, size = _open(path, files)
    sent = Sent(stream, told) if size is None else SentFile(stream, told)
    shown = filename or ("stdin" if path == "-" else Path(path).name)
    body.arguments["files"].append((name, (shown, sent, media_type) if media_type else (shown, sent)))
    body.size = None if size is None or body.size is None else body.size + size


def _file_options(value: str) -> tuple[str, str | None, str | None]:
    """Path, type and filename of ``path;type=…;filename=…``; a path may itself hold semicolons."""
    media_type = filename = None
    while True:
        rest, semicolon, option = value.rpartition(";")
        key, equals, setting = option.partition("=")
        if not (semicolon and equals) or key.strip() not in {"type", "filename"}:
            return value, media_type, filename
        if key.strip() == "type":
            media_type = setting
        else:
            filename = setting
        value = rest


def _open(path: str, files: ExitStack) -> tuple[BinaryIO, int | None]:
    """The stream and its length in bytes, None where that is not known."""
    if path == "-":
        return sys.stdin.buffer, None
    stream = files.enter_context(Path(path).open("rb"))  # noqa: SIM115 - files closes it
    status = os.fstat(stream.fileno())
    return stream, status.st_size if stat.S_ISREG(status.st_mode) else None


def json_body(given: str) -> Body:
    """The JSON of ``--json TEXT``, ``--json @file`` or ``--json @-``, sent as it is."""
    if given == "@-":
        content = sys.stdin.buffer.read()
    elif given.startswith("@"):
        content = Path(given[1:]).read_bytes()
    else:
        content = given.encode()
    return Body({"content": content, "headers": {"Content-Type": "application/json"}})
