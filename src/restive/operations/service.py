"""What stands behind the routes: finding an operation for a request, and every verb on it.

No route knows of threads, files or the backend but through this.
"""

from __future__ import annotations

import logging
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
from ..hub.hub import Hub
from ..settings import Settings
from .answers import gone, not_found
from .arriving import Arrivals
from .declaration import Declaration
from .depot import check_parts
from .files import Files, FilesPlace, Found
from .idempotency import idempotency_key
from .identity import is_identity
from .notices import Notices
from .options import Options
from .part_streams import PartStreams
from .record import Gone, OperationRecord, Place, Status
from .runner import Runner
from .store import Store
from .submission import Asked, Submissions
from .waiting import Waiting

__all__ = ["Host", "Service"]

logger = logging.getLogger("restive.operations")

T = TypeVar("T")

NOTICES_GET = 2.0
"""Seconds that deliveries under way get at shutdown; what is not told by then the next process tells."""

PARAMETER = re.compile(r"{([^}:]*)(?::[^}]*)?}")


class Host(Protocol):
    """What operations need of the ``Restive`` that they belong to."""

    @property
    def settings(self) -> Settings: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def home(self) -> Path: ...
    def hub(self) -> Hub: ...
    def changed(self, *targets: str, below: bool = False) -> None: ...
    def twin(self) -> Callable[[], Host]:
        """What makes a host of the same backend in another process; it can be pickled."""
        ...


class Service:
    """The operations of one ``Restive``."""

    def __init__(self, host: Host, find: Callable[[str], Declaration | None]) -> None:
        self.host = host
        parts = check_parts(host.settings.parts)
        self.files = Files(lambda: FilesPlace(host.home, parts, host.backend.shared))
        self.store = Store(lambda: host.backend)
        self.notices = Notices(lambda: host.backend, self.store, find, host.settings)
        self.runner = Runner(
            host.settings,
            self.store,
            self.files,
            home=lambda: host.home,
            find=find,
            announce=self._announce,
            moved=lambda paths: host.changed(*paths),
            shared=lambda: host.backend.shared,
            swept=self.notices.sweep,
            twin=host.twin,
        )
        self.arrivals = Arrivals(lambda: host.backend, host.settings, self.store.clock)
        self._submissions = Submissions(
            host.settings, lambda: host.backend, self.store, self.files, self.runner, self.load
        )
        self._waiting = Waiting()
        self.part_streams = PartStreams(lambda: host.settings, self.reload, self._read_parts)

    def _announce(self, operation: OperationRecord) -> None:
        """Tell the watchers of everything that may have changed with the document."""
        self._waiting.wake(operation.id)
        if operation.final and operation.notify:
            self.notices.wake()
        self.host.changed(*operation.targets)

    def drain(self, seconds: float) -> None:
        """Give running operations ``seconds`` to finish, then interrupt them. Blocks."""
        self.runner.drain(seconds)
        self.notices.close(NOTICES_GET)

    async def _offload(self, function: Callable[..., T], *args: Any) -> T:
        return await offload(self.host.backend, function, *args)

    async def _resume(self) -> None:
        if not self.runner.resumed:
            await self._offload(self.runner.resume)

    def place(self, operation: OperationRecord) -> Place | None:
        """The place in the queue of an operation that waits."""
        return self.runner.place(operation)

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
        if isinstance(entry, OperationRecord) and self._lost(entry):
            await self._offload(self.runner.end_lost, entry)
            entry = await self._offload(self.store.load, identity)
        return entry

    def _lost(self, entry: OperationRecord) -> bool:
        return self.runner.is_foreign(entry.id) and self.runner.attempts.vigil.lost(entry)

    async def reload(self, identity: str) -> OperationRecord | None:
        """As ``load``, without the trace of one that is gone."""
        entry = await self.load(identity)
        return entry if isinstance(entry, OperationRecord) else None

    # Verbs

    async def submit(
        self,
        request: Request,
        declaration: Declaration,
        owner: str | None,
        values: Mapping[str, Any],
        options: Options,
    ) -> OperationRecord:
        """Store and queue an operation, or find the one of this Idempotency-Key. Raises ``Problem``."""
        await self._resume()
        target = scope_target(request.scope).partition("?")[0]
        fields = tuple(request.scope["headers"])
        key = idempotency_key(fields)
        route = route_of(request, declaration)
        return await self._submissions.submit(
            Asked(declaration, route, target, owner, values, options, key, fields)
        )

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
            return await anyio.to_thread.run_sync(self.files.read_result, operation.id, operation.run)
        except FileNotFoundError:
            raise gone(operation) from None
        except OSError as error:
            logger.warning("The result of operation %s cannot be read now: %s", operation.id, error)
            raise Problem(503, "The result cannot be read now", headers={"Retry-After": "5"}) from error

    # Parts

    async def _read_parts(self, identity: str, after: str, limit: int) -> Page:
        return await self._offload(self.store.parts, identity, after, limit)

    async def parts(self, operation: OperationRecord, after: str, limit: int) -> Page:
        """Finished parts after an offset. Raises ``Problem`` (400) for an offset that is not its own."""
        try:
            page = await self._offload(self.store.parts, operation.id, after, limit)
        except ValueError:
            raise Problem(400, "There is no such offset", "Take it from Stream-Next-Offset, or -1.") from None
        if not page.next and await self.reload(operation.id) is None:  # deleted in this moment
            raise gone(Gone.of(operation, "deleted", self.store.clock()))
        return page

    async def part(self, operation: OperationRecord, name: str) -> Found | None:
        """A part that is finished, or that the operation's run writes now."""
        writer = operation.lease.number if operation.status == "running" and operation.lease else None
        return await anyio.to_thread.run_sync(self._part, operation, name, writer)

    def _part(self, operation: OperationRecord, name: str, writer: int | None) -> Found | None:
        found = self.files.part(operation.id, name, writer)
        if found is not None or not operation.parts or self.files.place.parts is None:
            return found
        part = self.runner.attempts.listed.find(operation.id, name)
        return None if part is None else self.files.elsewhere(operation.id, part)

    async def running(self, identity: str) -> bool:
        """Whether the operation still runs."""
        found = await self.reload(identity)
        return found is not None and found.status == "running"


def route_of(request: Request, declaration: Declaration) -> str:
    """The declared path with the request's parameters in it: another one's operation is not below it."""
    return PARAMETER.sub(lambda found: str(request.path_params[found[1]]), declaration.path)
