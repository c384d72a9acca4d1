"""Makes an operation of a request: its uploads copied, its arguments stored, its record saved."""

from __future__ import annotations

import errno
import logging
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile

from ..errors import Problem
from .arguments import Signature
from .files import COPY_CHUNK, Files
from .forms import link
from .identity import new_identity
from .record import OperationRecord
from .store import Store
from .upload import StoredUpload

__all__ = ["Submission"]

logger = logging.getLogger("restive.operations")

MOST_ARGUMENTS = 900 * 1024
"""Bytes of stored arguments; what is longer is a file."""


class Submission:
    """One submission; ``store`` blocks, and leaves nothing behind where it raises."""

    def __init__(self, store: Store, files: Files) -> None:
        self.created = store.clock()
        self.id = new_identity(self.created, secrets.token_bytes)
        self._store, self._files = store, files
        self._uploads = 0

    def store(self, operation: OperationRecord, signature: Signature, values: Mapping[str, Any]) -> None:
        """Make it durable. Raises ``Problem`` for what cannot be stored (413, 422, 503, 507)."""
        try:
            arguments = signature.store(values, self._keep)
            if len(arguments) > MOST_ARGUMENTS:
                size = len(arguments)
                detail = f"The arguments have {size} bytes; {MOST_ARGUMENTS} can be stored. Upload a file."
                raise Problem(413, detail=detail)
            self._store.create(operation, arguments)
        except OSError as error:
            self._files.remove(self.id)
            raise storage_problem(error) from error
        except BaseException:
            self._files.remove(self.id)
            raise

    def _keep(self, upload: UploadFile) -> StoredUpload:
        path = self._files.upload(self.id, self._uploads, upload.filename or "")
        self._uploads += 1
        if not link(upload, path):
            upload.file.seek(0)
            with path.open("xb") as copy:
                shutil.copyfileobj(upload.file, copy, COPY_CHUNK)
        return StoredUpload(str(path), path.stat().st_size, upload.filename, upload.content_type)


def storage_problem(error: OSError) -> Problem:
    """What a client is told of a folder that cannot be written to; the log says which and why."""
    logger.error("Operations cannot be stored: %s", error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Problem(507, detail="The server's disk is full.")
    return Problem(503, "The operation cannot be stored now", headers={"Retry-After": "30"})
