"""The file of a part that is being written: each write can be read at once by those who follow it."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from types import TracebackType
from typing import Any

from ..errors import Problem
from .files import Part
from .run import Run

__all__ = ["PartFile"]


class PartFile(io.RawIOBase):
    """Write-only and in order (no seek). ``close`` finishes the part; an exception in ``with`` drops it."""

    def __init__(self, run: Run, name: str, media_type: str) -> None:
        super().__init__()
        self.name = name
        """The part's name."""
        self._run, self._type = run, media_type
        self._size, self._hash = 0, hashlib.sha256()
        self._descriptor = -1
        try:
            self._descriptor, _ = run.files.open_part(run.id, Part(name, media_type))
        except FileExistsError:
            raise Problem(409, "This part exists", f"There is a part named {name!r} already.") from None
        run.open_files[name] = self

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any) -> int:
        """Append all of ``data``. Raises as ``Operation.check`` does, and ``OSError`` for a full disk."""
        if self.closed:
            raise ValueError("The part is finished.")
        self._run.check()
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            written += os.write(self._descriptor, view[written:])
        self._hash.update(view)
        self._size += written
        return written

    def tell(self) -> int:
        """The number of bytes written."""
        return self._size

    def close(self) -> None:
        """Finish the part: from now on it is listed, with its size and digest."""
        if self.closed or self._descriptor < 0:
            return
        self._shut()
        digest = base64.b64encode(self._hash.digest()).decode()
        part = Part(self.name, self._type, self._size, f"sha-256=:{digest}:")
        try:
            self._run.fence()
            self._run.files.finish_part(self._run.id, part)
        except BaseException:
            self._run.files.abandon_part(self._run.id, self.name)
            raise
        self._run.publish(part)

    def abandon(self) -> None:
        """Drop the part: those who follow it are cut."""
        if not self.closed and self._descriptor >= 0:
            self._shut()
            self._run.files.abandon_part(self._run.id, self.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _shut(self) -> None:
        os.close(self._descriptor)
        self._run.open_files.pop(self.name, None)
        super().close()
