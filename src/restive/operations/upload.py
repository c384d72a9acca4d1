"""An uploaded file as an operation gets it: on disk, complete, there as long as the operation's folder."""

from __future__ import annotations

from pathlib import Path

import msgspec
from starlette.datastructures import Headers, UploadFile

__all__ = ["StoredUpload", "Upload"]


class StoredUpload(msgspec.Struct, frozen=True):
    """What is stored of an upload: where its bytes are, and what the client said of them."""

    path: str
    size: int
    filename: str | None
    type: str | None
    key: str = ""
    """Its key in the depot, where a worker on another machine is to fetch it."""


class Upload(UploadFile):
    """An upload that was copied into ``op.folder`` before the submission was acknowledged.

    All of ``UploadFile``, and ``path``: hand it to whatever opens files itself. ``file`` is open for
    reading and is closed when the operation ends.
    """

    def __init__(self, stored: StoredUpload) -> None:
        self.path = Path(stored.path)
        """Where its bytes are."""
        headers = Headers({"content-type": stored.type} if stored.type else {})
        super().__init__(self.path.open("rb"), size=stored.size, filename=stored.filename, headers=headers)
