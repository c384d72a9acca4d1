"""Clients that submit, watch, read and ask, and record what they see. None gives up before the run ends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from restive import AsyncClient
from restive.client import Policy
from restive.errors import Unreachable, WatchEnded

from .history import FINAL, Asked, Closed, History, PartRead, PartsListed, Submitted, View
from .plans import Submission

OWNER = {"x-user": "ann"}
POLL = 0.1
"""Seconds between two plain GETs."""

AGAIN = 0.1
"""Seconds after which a request without a good answer is made again."""

POLICY = Policy(
    patience=4.0, silence=20.0, wait=2.0, poll_interval=0.1, backoff=0.05, most_backoff=0.5, stable=1.0
)


class Observers:
    """All clients of one run; they share connections as one program would."""

    def __init__(self, url: str, history: History) -> None:
        self.history = history
        self.http = httpx2.AsyncClient(base_url=url, headers=OWNER, timeout=httpx2.Timeout(3.0))
        self._url = url
        self._clients: dict[str, AsyncClient] = {}
        self._names = iter(range(1_000_000))

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        await self.http.aclose()

    # Requests

    async def _ask(self, method: str, target: str, **options: Any) -> httpx2.Response | None:
        """The answer; None where none came."""
        try:
            return await self.http.request(method, target, **options)
        except httpx2.TransportError:
            return None

    async def submit(self, wanted: Submission) -> str:
        """Submit until it is acknowledged, always with the same key. Returns the operation's path."""
        params: dict[str, Any] = {"steps": wanted.steps, "pace": wanted.pace}
        options: dict[str, Any] = {"params": params, "headers": {"idempotency-key": f'"{wanted.key}"'}}
        if wanted.kind == "digest":
            data = wanted.key.encode() * 20_000
            options["files"] = {"file": ("data.bin", data)}
            params["expected"] = hashlib.sha256(data).hexdigest()
        while True:
            asked = time.monotonic()
            answer = await self._ask("POST", wanted.collection, **options)
            status = 0 if answer is None else answer.status_code
            op = answer.headers["location"] if answer is not None and status == 202 else ""
            self.history.add(
                Submitted(at=time.monotonic(), key=wanted.key, asked=asked, status=status, op=op)
            )
            if op:
                return op
            if 400 <= status < 500 and status not in {409, 410, 429}:
                raise AssertionError(f"{wanted.collection} was refused: {status} {answer and answer.text}")
            await asyncio.sleep(AGAIN)

    async def get(self, op: str) -> View | None:
        """One GET of the document; None where it was not answered by 200 or 410."""
        asked = time.monotonic()
        answer = await self._ask("GET", op)
        if answer is None or (answer.status_code >= 500 or answer.status_code == 429):
            return None
        document = answer.json() if answer.status_code == 200 else None
        view = View(
            at=time.monotonic(),
            asked=asked,
            who="get",
            over="get",
            op=op,
            status=answer.status_code,
            document=document,
        )
        self.history.add(view)
        return view

    async def poll(self, op: str) -> None:
        """GET it until it is final or gone."""
        while True:
            view = await self.get(op)
            if view is not None and (view.document is None or view.document["status"] in FINAL):
                return
            await asyncio.sleep(POLL)

    async def ask(self, what: str, op: str) -> None:
        """Cancel or delete it, until that is answered."""
        method, target = ("DELETE", op) if what == "delete" else ("POST", f"{op}/cancel")
        while True:
            asked = time.monotonic()
            answer = await self._ask(method, target)
            status = 0 if answer is None else answer.status_code
            document = (
                answer.json() if answer is not None and what == "cancel" and answer.is_success else None
            )
            self.history.add(
                Asked(at=time.monotonic(), what=what, op=op, asked=asked, status=status, document=document)
            )
            if 200 <= status < 500 and status != 429:
                return
            await asyncio.sleep(AGAIN)

    # Watches

    def _client(self, transport: str) -> AsyncClient:
        if transport not in self._clients:
            self._clients[transport] = AsyncClient(
                self._url, headers=OWNER, transport=transport, policy=POLICY, connect_within=None
            )
        return self._clients[transport]

    async def watch(self, op: str, transport: str) -> None:
        """Watch it to its end, which a push tells by itself."""
        if transport == "get":
            await self.poll(op)
            return
        who, how = f"{transport}-{next(self._names)}", "final"
        try:
            async for state in self._client(transport).watch(op):
                self.history.add(
                    View(at=time.monotonic(), who=who, over=transport, op=op, document=state.data)
                )
                # Polls are not told that a state is final: it may still be deleted.
                if state.data["status"] in FINAL and transport in {"poll", "long-poll"}:
                    break
        except WatchEnded as end:
            how = str(end.problem.status)
        except Unreachable:
            how = "unreachable"
        self.history.add(Closed(at=time.monotonic(), who=who, op=op, how=how))

    # Parts

    async def list_parts(self, op: str) -> PartsListed | None:
        """One GET of the finished parts; None where it was not answered."""
        asked = time.monotonic()
        answer = await self._ask("GET", f"{op}/parts")
        if answer is None or answer.status_code != 200:
            return None
        parts = tuple((part["name"], part["digest"]) for part in answer.json())
        listed = PartsListed(at=time.monotonic(), op=op, asked=asked, parts=parts)
        self.history.add(listed)
        return listed

    async def read_part(self, op: str, name: str) -> PartRead:
        """One GET of a part; a body that breaks off is not whole."""
        asked, digest, status, whole = time.monotonic(), hashlib.sha256(), 0, False
        with contextlib.suppress(httpx2.TransportError):
            async with self.http.stream("GET", f"{op}/parts/{name}") as answer:
                status = answer.status_code
                async for chunk in answer.aiter_raw():
                    digest.update(chunk)
                whole = status == 200
        text = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        read = PartRead(
            at=time.monotonic(), op=op, name=name, asked=asked, status=status, whole=whole, digest=text
        )
        self.history.add(read)
        return read

    async def follow_parts(self, op: str, name: str) -> None:
        """List the parts again and again, and follow the one of that name, until the task is cancelled."""
        while True:
            listed = await self.list_parts(op)
            for part, _ in listed.parts[-1:] if listed is not None else ():
                await self.read_part(op, part)
            await self.read_part(op, name)
            await asyncio.sleep(POLL)

    # The end

    async def settle(self, op: str) -> None:
        """What is there once all is over: the document, the parts, and the bytes of each."""
        view = await self._until(lambda: self.get(op))
        if view.document is None:
            return
        listed = await self._until(lambda: self.list_parts(op))
        for name, _ in listed.parts:
            await self.read_part(op, name)

    async def _until(self, ask: Any) -> Any:
        while (found := await ask()) is None:
            await asyncio.sleep(AGAIN)
        return found

    async def listing(self, collection: str) -> AsyncIterator[str]:
        """The paths of all operations that the collection lists."""
        target = f"{collection}?limit=3"
        while target:
            answer = await self._until(lambda target=target: self._good(target))
            for document in answer.json():
                yield document["links"]["self"]
            target = answer.links.get("next", {}).get("url", "")

    async def _good(self, target: str) -> httpx2.Response | None:
        answer = await self._ask("GET", target)
        return answer if answer is not None and answer.status_code == 200 else None
