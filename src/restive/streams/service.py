"""What stands behind the routes and behind the app's own code: every verb on a stream.

Code on an event loop calls what is ``async``; what blocks is for threads. No route knows of the log or the
backend but through this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote

from ..backends import offload
from ..backends.port import Backend
from ..http.targets import normalize
from ..hub.hub import Hub
from ..settings import Settings
from ..telemetry import metrics
from .declaration import SAFE, Declaration
from .lives import Found, Life
from .log import Log
from .loops import LoopTails
from .offsets import absent, checked
from .place import Place, Slice
from .producers import Outcome, Write
from .tail import Follower, Tails
from .tasks import Creation, Deletion, Look, Sight, Task, Writing

__all__ = ["Host", "Service", "StreamSource"]

T = TypeVar("T")


class Host(Protocol):
    """What streams need of the ``Restive`` that they belong to."""

    @property
    def settings(self) -> Settings: ...
    @property
    def backend(self) -> Backend: ...
    def hub(self) -> Hub: ...
    def announce_streams(self, paths: Sequence[str]) -> bytes: ...


class Service:
    """The streams of one ``Restive``. Constructing opens nothing."""

    def __init__(self, host: Host, declared: Callable[[str], Declaration | None]) -> None:
        self.host = host
        self._declared = declared
        self.log = Log(
            lambda: host.backend,
            producers=host.settings.stream_producers,
            announce=host.announce_streams,
            changed=lambda path: self.grew([path]),
        )
        self._tails = LoopTails(self._make_tails)
        self.polls: Counter[str] = Counter()
        """Long polls under way, by client address."""

    async def offload(self, function: Callable[..., T], *args: Any) -> T:
        """Call what blocks."""
        return await offload(self.host.backend, function, *args)

    # Writing

    def count(self, declaration: Declaration, write: Write, outcome: Outcome) -> None:
        """Count what was appended."""
        if outcome.verdict == "appended" and write.items:
            metrics.appended(declaration.path, len(write.items), sum(map(len, write.items)))

    async def ask(self, path: str, task: Task) -> Any:
        """What becomes of a task."""
        self.log.sweep_now_and_then()
        return await self.log.ask(path, task)

    async def write(self, declaration: Declaration, path: str, writing: Writing) -> Outcome:
        """What becomes of a write."""
        outcome: Outcome = await self.ask(path, writing)
        self.count(declaration, writing.write, outcome)
        return outcome

    async def create(self, path: str, creation: Creation) -> Sight:
        """The stream, made now or there already."""
        sight: Sight = await self.ask(path, creation)
        return sight

    async def delete(self, path: str) -> bool:
        """Whether there was one."""
        found: bool = await self.ask(path, Deletion())
        return found

    # Reading

    async def look(self, path: str) -> Sight | None:
        """The stream as it is now."""
        sight: Sight | None = await self.ask(path, Look())
        return sight

    def source(self, path: str) -> StreamSource:
        """What a tail reads; ``path`` is in normal form."""
        declaration = self._declared(unquote(path))
        if declaration is None:
            raise absent()
        return StreamSource(self, declaration, path)

    # Following

    def tails(self) -> Tails:
        """Those of the running loop."""
        return self._tails.here()

    def _make_tails(self) -> Tails:
        settings = self.host.settings
        return Tails(self.source, settings.recheck, settings.stream_page)

    def follow(self, path: str, offset: str, wake: Callable[[], None]) -> Follower:
        """Follow a stream on the running loop. Raises ``Problem`` for a path or an offset that is none."""
        return self.tails().follow(canonical(path), checked(offset), wake)

    def grew(self, paths: Iterable[str] | None) -> None:
        """These streams have changed; None: any may have. From any thread."""
        self._tails.grew(None if paths is None else list(paths))

    def close(self) -> None:
        """Nobody follows any more. On the loop that is ending."""
        self._tails.close()


class StreamSource:
    """One stream as a tail and a reader see it."""

    def __init__(self, service: Service, declaration: Declaration, path: str) -> None:
        self._service, self._declaration, self._path = service, declaration, path
        self.lasting = not declaration.writable
        self.nowhere = Place(declaration.default_type)

    async def look(self) -> Place | None:
        """Where it ends now."""
        service = self._service
        sight = await service.look(self._path)
        if sight is None:
            return None
        await service.offload(service.log.use, sight.found)
        return self._place(sight.found, sight.offset, closed=sight.closed)

    def _place(self, found: Found, offset: str = "", *, closed: bool = False) -> Place:
        life = found.life
        return Place(life.content_type, offset, closed, found, life.deadline is None, self._due(life))

    def _due(self, life: Life) -> float | None:
        """Half a TTL: who follows, uses it."""
        if life.ttl is not None:
            return max(0.05, life.ttl / 2)
        return None if life.expires is None else max(0.05, life.expires - self._service.log.lives.clock())

    async def read(self, place: Place, offset: str, limit: int) -> Slice:
        """Items behind an offset, of the life that ``place`` was of."""
        service = self._service
        found = service.log.lives.latest(place.handle)
        return await service.offload(service.log.read_life, found, offset, limit)

    async def page(self, offset: str, limit: int) -> tuple[Place, Slice] | None:
        """Items behind an offset, of whatever life it has now; None where there is none."""
        service = self._service
        read = await service.offload(service.log.read, self._path, offset, limit)
        if read is None:
            return None
        found, page = read
        return self._place(found), page


def canonical(path: str) -> str:
    """The path by which a stream is known: both ``%2F`` and ``/`` lead the app's router to the same one."""
    path = normalize(path)
    return quote(unquote(path), safe=SAFE) if "%" in path else path


def named(scope_path: str, root: str) -> str:
    """The same of the path of an ASGI scope, with or without the root path in it. Raises ``Problem``."""
    root = root.rstrip("/")
    if root and (scope_path == root or scope_path.startswith(f"{root}/")):
        scope_path = scope_path[len(root) :]
    return normalize(quote(scope_path, safe=SAFE))
