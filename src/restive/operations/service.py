"""What stands behind the routes: finding an operation for a request, and every verb on it.

No route knows of threads, files or the backend but through this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio.to_thread
from starlette.requests import Request

from ..backends import offload
from ..backends.port import Backend, Page
from ..errors import Problem
from ..http.targets import scope_target
from ..settings import Settings
from .answers import gone, not_found
from .declaration import Declaration
from .files import Files, Part
from .identity import is_identity
from .record import Gone, OperationRecord, Status
from .runner import Runner
from .store import Store
from .submission import Submission
from .waiting import Waiting

__all__ = ["Host", "Service"]

T = TypeVar("T")

PARAMETER = re.compile(r"{([^}:]*)(?::[^}]*)?}")


class Host(Protocol):
    """What operations need of the ``Restive`` that they belong to."""

    @property
    def settings(self) -> Settings: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def home(self) -> Path: ...
    def changed(self, *targets: str, below: bool = False) -> None: ...


class Service:
    """The operations of one ``Restive``."""

    def __init__(self, host: Host, find: Callable[[str], Declaration | None]) -> None:
        self.host = host
        self.files = Files(lambda: host.home)
        self.store = Store(lambda: host.backend)
        self.runner = Runner(host.settings, self.store, self.files, find, self._announce)
        self._waiting = Waiting()

    def _announce(self, operation: OperationRecord) -> None:
        """Tell the watchers of everything that may have changed with the document."""
        targets = [operation.location, f"{operation.location}/parts"]
        if operation.final:
            targets.append(f"{operation.location}/result")
        if operation.owner is not None:
            targets.append(operation.target)
        self._waiting.wake(operation.id)
        self.host.changed(*targets)

    async def _offload(self, function: Callable[..., T], *args: Any) -> T:
        return await offload(self.host.backend, function, *args)

    async def _resume(self) -> None:
        if not self.runner.resumed:
            await self._offload(self.runner.resume)

    # Finding

    async def find(self, request: Request, declaration: Declaration, owner: str | None) -> OperationRecord:
        """The operation that the request names. Raises ``Problem`` (404, 410)."""
        identity = str(request.path_params["operation_id"])
        await self._resume()
        entry = await self.load(identity)
        if (
            entry is None
            or entry.route != route_of(request, declaration)
            or entry.declaration != declaration.path
        ):
            raise not_found()
        if entry.owner is not None and entry.owner != owner:
            raise not_found()
        if isinstance(entry, Gone) or (entry.expires() or self.store.clock() + 1) <= self.store.clock():
            raise gone(entry)
        return entry

    async def load(self, identity: str) -> OperationRecord | Gone | None:
        """The operation as it is now, ended if its runner is gone."""
        if not is_identity(identity):
            return None
        entry = await self._offload(self.store.load, identity)
        if isinstance(entry, OperationRecord) and entry.lost(self.store.clock()):
            await self._offload(self.runner.end_lost, entry)
            entry = await self._offload(self.store.load, identity)
        return entry

    async def reload(self, identity: str) -> OperationRecord | None:
        """As ``load``, without the trace of one that is gone."""
        entry = await self.load(identity)
        return entry if isinstance(entry, OperationRecord) else None

    # Verbs

    async def submit(
        self, request: Request, declaration: Declaration, owner: str | None, values: Mapping[str, Any]
    ) -> OperationRecord:
        """Store and queue an operation. Raises ``Problem``."""
        await self._resume()
        self.runner.reserve()
        try:
            submission = Submission(self.store, self.files)
            retention = (
                self.host.settings.retention if declaration.retention is None else declaration.retention
            )
            operation = OperationRecord(
                id=submission.id,
                declaration=declaration.path,
                route=route_of(request, declaration),
                target=scope_target(request.scope).partition("?")[0],
                created=submission.created,
                retention=retention,
                owner=owner,
            )
            await anyio.to_thread.run_sync(submission.store, operation, declaration.signature, values)
        finally:
            self.runner.release()
        self.runner.enqueue(operation.id)
        return operation

    async def final(self, operation: OperationRecord, seconds: float) -> OperationRecord:
        """The operation once it is final, or after ``seconds``. Raises ``Problem`` (410) once deleted."""
        found = await self._waiting.final(operation.id, seconds, lambda: self.reload(operation.id))
        if found is None:
            raise gone(Gone.of(operation, "deleted", self.store.clock()))
        return found

    async def listed(
        self, owner: str, route: str, status: Status | None, before: str | None, limit: int
    ) -> list[OperationRecord]:
        """One owner's operations, newest first."""
        await self._resume()

        def read() -> list[OperationRecord]:
            now = self.store.clock()
            found = self.store.listed(owner, route, before)
            kept = (it for it in found if status in {None, it.status} and (it.expires() or now + 1) > now)
            return list(islice(kept, limit))

        return await self._offload(read)

    async def cancel(self, operation: OperationRecord) -> OperationRecord:
        """Ask for the cancel; what the operation is now."""
        asked = await self._offload(self.runner.cancel, operation.id)
        return asked or await self.reload(operation.id) or operation

    async def delete(self, operation: OperationRecord) -> None:
        """Forget it."""
        await anyio.to_thread.run_sync(self.runner.delete, operation.id)
        self._waiting.wake(operation.id)
        await self._offload(self._announce_deleted, operation)

    def _announce_deleted(self, operation: OperationRecord) -> None:
        self.host.changed(operation.location, below=True)
        self.host.changed(operation.target)

    async def result(self, operation: OperationRecord) -> bytes:
        """The return value as JSON. Raises ``Problem`` (410) where it was removed meanwhile."""
        if not operation.long:
            return bytes(operation.result)
        try:
            return await anyio.to_thread.run_sync(self.files.result(operation.id).read_bytes)
        except FileNotFoundError:
            raise gone(operation) from None

    # Parts

    async def parts(self, operation: OperationRecord, after: str, limit: int) -> Page:
        """Finished parts after an offset. Raises ``Problem`` (400) for an offset that is not its own."""
        try:
            return await self._offload(self.store.parts, operation.id, after, limit)
        except ValueError:
            raise Problem(400, "There is no such offset", "Take it from Stream-Next-Offset, or -1.") from None

    async def part(self, operation: OperationRecord, name: str) -> tuple[Part, Path] | None:
        """A part and its file."""
        try:
            return await anyio.to_thread.run_sync(self.files.part, operation.id, name)
        except UnicodeEncodeError:
            return None

    async def running(self, identity: str) -> bool:
        """Whether the operation still runs."""
        found = await self.reload(identity)
        return found is not None and found.status == "running"


def route_of(request: Request, declaration: Declaration) -> str:
    """The declared path with the request's parameters in it: another one's operation is not below it."""
    return PARAMETER.sub(lambda found: str(request.path_params[found[1]]), declaration.path)
