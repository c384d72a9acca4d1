"""The file of a part that is being written: each write can be read at once by those who follow it."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import logging
import os
from types import TracebackType
from typing import Any

from ..errors import Problem
from .files import Part
from .running import Running

__all__ = ["PartFile"]

logger = logging.getLogger("restive.operations")

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PartFile(io.RawIOBase):
    """Write-only and in order (no seek). ``close`` finishes the part; an exception in ``with`` drops it."""

    def __init__(self, run: Running, name: str, media_type: str) -> None:
        super().__init__()
        self.name = name
        """The part's name."""
        self._run, self._type = run, media_type
        self._size, self._hash = 0, hashlib.sha256()
        self._descriptor = -1
        try:
            self._descriptor = run.files.open_part(run.id, run.number, Part(name, media_type))
        except OSError as error:
            raise self._unkept(error) from error
        run.open_files[name] = self

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any) -> int:
        """Append all of ``data``.

        Raises as ``Operation.check`` does, and ``Problem`` (507) where the disk is full: the part is dropped.
        """
        if self.closed:
            raise ValueError("The part is finished.")
        self._run.check()
        view = memoryview(data).cast("B")
        self._check_room(len(view))
        written = 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            self.abandon()
            raise self._unkept(error) from error
        self._hash.update(view)
        self._size += written
        return written

    def _check_room(self, more: int) -> None:
        room = self._run.room
        if room is not None and self._size + more > room:
            self.abandon()
            detail = f"The operations of one owner may fill a quota, and {self.name!r} is over it."
            raise Problem(507, "The owner's storage is full", detail)

    def tell(self) -> int:
        """The number of bytes written."""
        return self._size

    def close(self) -> None:
        """Finish the part: from now on it is listed, with its size and digest.

        Raises as ``write`` does, and ``Problem`` (409) where an earlier attempt published other bytes.
        """
        if self.closed or self._descriptor < 0:
            return
        digest = base64.b64encode(self._hash.digest()).decode()
        part = Part(self.name, self._type, self._size, f"sha-256=:{digest}:")
        self._shut()
        try:
            self._run.fence()
            published = self._finish(part)
        except BaseException:
            self._run.files.abandon_part(self._run.id, self._run.number, self.name)
            raise
        finally:
            self._run.open_files.pop(self.name, None)
        self._run.publish(published)

    def _finish(self, part: Part) -> Part:
        try:
            return self._run.files.finish_part(self._run.id, self._run.number, part)
        except FileNotFoundError as error:  # removed with the operation, or by a newer run
            self._run.fence()
            raise self._unkept(error) from error
        except OSError as error:
            raise self._unkept(error) from error

    def abandon(self) -> None:
        """Drop the part: those who follow it are cut."""
        if not self.closed and self._descriptor >= 0:
            self._shut()
            self._run.open_files.pop(self.name, None)
            self._run.files.abandon_part(self._run.id, self._run.number, self.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _shut(self) -> None:
        os.close(self._descriptor)
        super().close()

    def _unkept(self, error: OSError) -> Problem:
        """What a client is told; the log says where and why."""
        logger.error("Operation %s: its part %r cannot be kept: %s", self._run.id, self.name, error)
        if error.errno in FULL:
            return Problem(507, "The disk is full", f"There was no room for the part {self.name!r}.")
        return Problem(503, "The part cannot be kept", f"The place for the part {self.name!r} refused it.")
