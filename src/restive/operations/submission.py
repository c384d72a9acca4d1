"""Makes an operation of a request: its uploads copied, its arguments stored, its record saved.

All of it is durable before the 202, or nothing of it is left. A request with an Idempotency-Key gives the
operation that the key made before, where there is one.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import anyio.to_thread
from msgspec.structs import replace as changed
from starlette.datastructures import UploadFile

from ..backends import offload
from ..backends.port import Backend
from ..errors import Conflict, Problem
from ..http.fields import Fields
from ..settings import Settings
from .answers import gone
from .arriving import uploading
from .declaration import Declaration
from .engines.port import Elsewhere
from .files import COPY_CHUNK, Files
from .forms import link
from .idempotency import Key, Keys, Known, fingerprint, other_payload, record_name
from .identity import time_of
from .options import Options
from .quota import Quota
from .record import OperationRecord
from .runner import Runner
from .store import ORPHAN_AFTER, Entry, Store
from .upload import StoredUpload
from .witness import submission

__all__ = ["Asked", "Submissions", "storage_problem"]

logger = logging.getLogger("restive.operations")

MOST_ARGUMENTS = 900 * 1024
"""Bytes of stored arguments; what is longer is a file."""

KEY = "operation-key"
TRIES = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for."""

    declaration: Declaration
    route: str
    """The path of the collection inside the app."""
    target: str
    """The same as clients know it."""
    owner: str | None
    values: Mapping[str, Any] = field(default_factory=dict)
    options: Options = Options()
    key: str | None = None
    """Its Idempotency-Key."""
    fields: Fields = ()
    """The request's header fields."""


class Submissions:
    """Takes all submissions of one service."""

    def __init__(
        self,
        settings: Settings,
        backend: Callable[[], Backend],
        store: Store,
        files: Files,
        runner: Runner,
        load: Callable[[str], Awaitable[Entry | None]],
    ) -> None:
        self._settings, self._backend = settings, backend
        self._store, self._files, self._runner, self._load = store, files, runner, load
        self._keys = Keys(backend)
        self._quota = Quota(store.owned_bytes, settings.owner_bytes)

    async def submit(self, asked: Asked) -> OperationRecord:
        """The stored and queued operation, or the one that the request's key made before.

        Raises ``Problem`` for what cannot be stored, is over a limit, or has a key that does not fit.
        """
        key = None
        if asked.key is not None:
            name = record_name(KEY, asked.owner, "POST", asked.route, asked.key)
            said = await anyio.to_thread.run_sync(fingerprint, asked.declaration.signature, asked.values)
            key = Key(name, said)
        for _ in range(TRIES):
            if key is not None:
                known = await offload(self._backend(), self._keys.find, key.name)
                if known is not None and (made := await self._made(known, key)) is not None:
                    return made
                key = replace(key, version=0 if known is None else known.version)
            try:
                return await self._new(asked, key)
            except Conflict:  # another request with this key was faster
                continue
        raise uploading()

    async def _made(self, known: Known, key: Key) -> OperationRecord | None:
        """The operation of a known key; None where it was never stored whole. Raises ``Problem``."""
        if known.fingerprint != key.fingerprint:
            raise other_payload()
        entry = await self._load(known.operation)
        now = self._store.clock()
        if entry is None:
            if time_of(known.operation) < now - ORPHAN_AFTER:
                return None
            raise uploading()
        if not isinstance(entry, OperationRecord) or (entry.expires() or now + 1) <= now:
            raise gone(entry)
        return entry

    async def _new(self, asked: Asked, key: Key | None) -> OperationRecord:
        if self._runner.is_full(asked.owner):
            await offload(self._backend(), self._runner.recount)
        self._runner.reserve(asked.owner)
        try:
            with submission(asked.declaration.path, asked.fields) as submitted:
                away = self._runner.elsewhere(asked.declaration)
                one = _Submission(self._store, self._files, self._quota, away=away is not None)
                operation = changed(self._record(one, asked, key, away=away), trace=submitted.trace)
                operation = await anyio.to_thread.run_sync(one.store, operation, asked, key)
                submitted.stored(operation.id)
        finally:
            self._runner.release(asked.owner)
        self._runner.enqueue(operation)
        return operation

    def _record(
        self, one: _Submission, asked: Asked, key: Key | None, *, away: Elsewhere | None
    ) -> OperationRecord:
        declaration, options = asked.declaration, asked.options
        retention = declaration.retention
        return OperationRecord(
            id=one.id,
            declaration=declaration.path,
            route=asked.route,
            target=asked.target,
            created=one.created,
            retention=self._settings.retention if retention is None else retention,
            owner=asked.owner,
            retries=declaration.retries,
            backoff=declaration.backoff,
            priority=options.priority,
            not_before=options.not_before,
            key=None if key is None else key.name,
            webhook=options.webhook,
            notify=options.webhook is not None or declaration.on_end is not None,
            sent=max(one.created, options.not_before or 0.0) if away is not None else None,
            sends=1 if away is not None and away.repeatable else 0,
        )


class _Submission:
    """One submission; ``store`` blocks, and leaves nothing behind where it raises."""

    def __init__(self, store: Store, files: Files, quota: Quota, *, away: bool) -> None:
        """``away``: it is to run on another machine."""
        self._away = away
        self.created = store.clock()
        self.id = store.identities.new(self.created)
        self._store, self._files, self._quota = store, files, quota
        self._uploads = self._size = 0

    def store(self, operation: OperationRecord, asked: Asked, key: Key | None) -> OperationRecord:
        """Make it durable. Raises ``Problem`` for what cannot be stored, ``Conflict`` for a key in use."""
        try:
            arguments = asked.declaration.signature.store(asked.values, self._keep)
            if len(arguments) > MOST_ARGUMENTS:
                size = len(arguments)
                detail = f"The arguments have {size} bytes; {MOST_ARGUMENTS} can be stored. Upload a file."
                raise Problem(413, detail=detail)
            if self._uploads:
                self._files.sync(self.id)
            home = self._files.identity() if self._away else ""
            operation = changed(operation, size=self._size, home=home)
            steps = [] if key is None else [key.step(self.id)]
            with self._quota.held(operation.owner, self._size):
                self._store.create(operation, arguments, *steps)
        except OSError as error:
            self._files.remove(self.id, self._away)
            raise storage_problem(error) from error
        except BaseException:
            self._files.remove(self.id, self._away)
            raise
        return operation

    def _keep(self, upload: UploadFile) -> StoredUpload:
        path = self._files.upload(self.id, self._uploads, upload.filename or "")
        self._uploads += 1
        if not link(upload, path):
            upload.file.seek(0)
            with path.open("xb") as copy:
                shutil.copyfileobj(upload.file, copy, COPY_CHUNK)
        size = path.stat().st_size
        self._size += size
        key = ""
        if self._away and self._files.place.parts is not None:
            key = self._files.send_upload(self.id, path)
        return StoredUpload(str(path), size, upload.filename, upload.content_type, key)


def storage_problem(error: OSError) -> Problem:
    """What a client is told of a folder that cannot be written to; the log says which and why."""
    logger.error("Operations cannot be stored: %s", error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Problem(507, detail="The server's disk is full.")
    return Problem(503, "The operation cannot be stored now", headers={"Retry-After": "30"})
