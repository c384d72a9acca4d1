"""Reads a multipart body straight into the file system where uploads are kept, so that they are not copied.

The files have no name until they are linked into an operation's folder: whatever is cut off, or crashes,
leaves nothing. Where the system has no such files, Starlette's temporary ones are used, and copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

import anyio.to_thread
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Receive, Scope

from ..http.fields import media_type
from .arriving import Arrival

__all__ = ["FormRequest", "link"]


class FormRequest(Request):
    """A request whose uploads are unnamed files below ``folder``; ``arrival``: it has an Idempotency-Key."""

    def __init__(
        self, scope: Scope, receive: Receive, folder: Callable[[], Path], arrival: Arrival | None = None
    ) -> None:
        super().__init__(scope, receive if arrival is None else arrival.receive)
        self._folder, self._arrival = folder, arrival

    async def arrived(self) -> None:
        """What its body leads to is stored: another request with its key may come."""
        if self._arrival is not None:
            await self._arrival.release()

    async def _get_form(self, **limits: Any) -> FormData:
        if self._form is None and media_type(self.headers.get("content-type")) == "multipart/form-data":
            folder = await anyio.to_thread.run_sync(_unnamed_in, self._folder)
            async with aclosing(self.stream()) as stream:
                parser = _Parser(self.headers, stream, **limits)
                parser.folder = folder
                try:
                    self._form = await parser.parse()
                except MultiPartException as error:
                    raise HTTPException(400, error.message) from error
        return await super()._get_form(**limits)


class _Parser(MultiPartParser):
    folder: Path | None = None

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None and self.folder is not None:
            spool, upload.file = upload.file, _unnamed(self.folder)
            self._files_to_close_on_error.append(upload.file)  # type: ignore[arg-type]
            spool.close()


def _unnamed_in(folder: Callable[[], Path]) -> Path | None:
    """The folder, made if need be, where it can hold files without a name."""
    try:
        path = folder()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _unnamed(path).close()
    except (OSError, AttributeError):
        return None
    return path


def _unnamed(folder: Path) -> BinaryIO:
    return open(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b")


def link(upload: UploadFile, path: Path) -> bool:
    """Give the file of an upload the name ``path``; false where it cannot be done and has to be copied."""
    try:
        upload.file.flush()
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Only with a dir_fd does Python call linkat(), which alone follows the link in /proc.
        source = f"/proc/self/fd/{upload.file.fileno()}"
        os.link(source, path.name, dst_dir_fd=folder, follow_symlinks=True)
    except (OSError, NotImplementedError):
        return False
    finally:
        os.close(folder)
    return True
