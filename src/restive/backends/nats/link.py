"""One connection to NATS: requests whose answers cannot cross, and a loss that all of them notice at once.

nats-py reconnects by itself and says nothing of what was lost meanwhile; so it may not, and a new
``Link`` is made instead. Each request has an inbox of its own below one subscription; what comes late
finds nobody. An answer that does not come is asked after with a ping: none, and the connection counts
as lost, however open it looks.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from restive.errors import BackendUnavailable

from .url import NatsUrl

__all__ = ["Absent", "Link", "Lost", "Refused", "Unreachable", "give_up"]

CONNECT = 2.0
"""Seconds that the way to an answering server may take."""

ANSWER = 1.8
"""Seconds to wait for an answer, and for a sign of life when none has come."""
ALIVE = 0.5
BUSY = 0.6
"""Seconds more that one who is alive may take."""

SLOWEST = 10_000_000
"""Bytes a second: who sends much may wait so much longer."""

OLDEST = (2, 12)

_DENIED = re.compile(r"permissions violation for (?:publish|subscription) to \"([^\"]*)\"")
"""As nats-py passes it on, in lower case."""
_FATAL = (OSError, nats.errors.UnexpectedEOF, nats.errors.StaleConnectionError)
_STATUS = "Status"


class Unreachable(BackendUnavailable):
    """No server could be connected to; it may be later."""


class Lost(BackendUnavailable):
    """The connection went while the answer was awaited: the outcome is unknown."""


class Absent(BackendUnavailable):
    """Nobody serves this subject: what was sent was not stored."""


class Refused(BackendUnavailable):
    """The server answered with an error; ``code`` is JetStream's number for it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Answer:
    """What came for one request."""

    __slots__ = ("done", "messages", "subject")

    def __init__(self, subject: str, done: asyncio.Future[None]) -> None:
        self.subject = subject
        self.messages: list[Msg] = []
        self.done = done


class Link:
    """A connection that was made with ``open``. ``lost`` is called once when it goes by itself."""

    def __init__(self, url: NatsUrl, lost: Callable[[str], None]) -> None:
        self._url = url
        self._lost = lost
        self._client = Client()
        self._answers: dict[str, _Answer] = {}
        self._inbox = ""
        self._count = 0
        self._error = ""
        self._closing: asyncio.Task[None] | None = None
        self._subscriptions: list[Subscription] = []
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opened = False
        self._deaf = False
        self.dead = False
        self.server = ""
        """Who is at the other end: another one after every restart, but for a cluster, which is one."""
        self.handle = -1
        """The file descriptor, which a forked child must give up."""

    @property
    def room(self) -> int:
        """Bytes that one message may have, its headers included."""
        return self._client.max_payload

    # Connecting

    async def open(self) -> None:
        """Connect. Raises ``BackendUnavailable`` with what to do."""
        try:
            async with asyncio.timeout(CONNECT):
                await self._client.connect(**self._options())
                self._watch_reader()
                self._inbox = self._client.new_inbox()
                await self._listen(f"{self._inbox}.*", self._answered, -1)
                await self._client.flush(timeout=1)
        except Exception as error:  # noqa: BLE001 - nats-py raises many kinds, ssl and OSError too
            self.close()
            raise self._unreachable(error) from None
        except BaseException:
            self.close()
            raise
        self._look_round()
        self._opened = True

    def _watch_reader(self) -> None:
        """nats-py's reader may end by an error, which nobody is told: as it flushes what was reset."""
        reader = self._client._reading_task  # noqa: SLF001
        if reader is not None:
            reader.add_done_callback(self._reader_ended)

    def _reader_ended(self, reader: asyncio.Task[bool]) -> None:
        error = None if reader.cancelled() else reader.exception()
        if error is not None and self._opened:
            self.die(str(error) or type(error).__name__)

    def _options(self) -> dict[str, Any]:
        return {
            **self._url.options(),
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "connect_timeout": CONNECT,
            "ping_interval": 5,
            "max_outstanding_pings": 1,
            "error_cb": self._failed,
            "closed_cb": self._closed,
        }

    def _look_round(self) -> None:
        info: Mapping[str, Any] = self._client._server_info  # noqa: SLF001 - nats-py does not publish it
        cluster = info.get("cluster")
        self.server = f"cluster {cluster}" if cluster else str(info.get("server_id"))
        with suppress(AttributeError):
            self.handle = self._writer().get_extra_info("socket").fileno()
        version = self._client.connected_server_version
        if (version.major, version.minor) < OLDEST or not info.get("headers"):
            self.close()
            raise BackendUnavailable(f"{self._url} is nats-server {version}; Restive needs 2.12 or newer.")

    def _writer(self) -> asyncio.StreamWriter:
        writer: asyncio.StreamWriter = self._client._transport._io_writer  # type: ignore[union-attr]  # noqa: SLF001
        return writer

    def _unreachable(self, error: Exception) -> BackendUnavailable:
        said = (self._error or str(error) or type(error).__name__).rstrip(".")
        if isinstance(error, TimeoutError | nats.errors.TimeoutError) and not self._error:
            said = "it does not answer"
        lower = said.lower()
        if "authorization" in lower or "authentication" in lower:
            hint = "Check user, password or token in the URL"
        elif "ssl" in lower or "certificate" in lower or "tls" in lower:
            hint = "Check the certificates, and tls_ca= in the URL"
        else:
            return Unreachable(f"{self._url} cannot be reached: {said}. Is it running, and is the URL right?")
        return BackendUnavailable(f"{self._url} cannot be reached: {said}. {hint}")

    async def _failed(self, error: Exception) -> None:
        """What the server says without being asked: among it which request it has refused."""
        self._error = str(error) or type(error).__name__
        if self._opened and isinstance(error, _FATAL):  # nats-py may say so much later, or never
            self.die(self._error)
        denied = _DENIED.search(self._error)
        if denied is None:
            return
        self._deaf = self._deaf or denied[1].startswith(self._inbox.lower())
        for answer in list(self._answers.values()):
            if not answer.done.done() and (self._deaf or answer.subject.lower() == denied[1]):
                answer.done.set_exception(self._denial(answer.subject))

    def _denial(self, subject: str) -> Refused:
        what = "subscribe to _INBOX.>" if self._deaf else f"publish to {subject}"
        return Refused(f"{self._url}: the user may not {what}; the documentation lists what it has to.", 0)

    async def _closed(self) -> None:
        self.die(self._error or "the connection was closed")

    # Ending

    def die(self, why: str) -> None:
        """The connection is of no use any more: whoever waits hears of it now."""
        if self.dead:
            return
        self.close()
        for answer in self._answers.values():
            if not answer.done.done():
                answer.done.set_exception(
                    Lost(f"{self._url} was lost while its answer was awaited: {why}. The outcome is unknown.")
                )
        self._lost(why)

    def close(self) -> None:
        """Close the connection, without a word to whoever waits."""
        if not self.dead:
            self.dead = True
            self._ended.set_result(None)
            self._closing = asyncio.get_running_loop().create_task(self._close())

    async def closed(self) -> None:
        """Wait until it is closed."""
        if self._closing is not None:
            await self._closing

    async def _close(self) -> None:
        with suppress(AttributeError):
            self._writer().transport.abort()
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(), 1)
        for subscription in self._subscriptions:  # nats-py forgets them where closing meets an error
            subscription._stop_processing()  # noqa: SLF001

    # Speaking

    async def request(self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
        """Send and return the answer. Raises ``Absent``, ``Lost`` and ``Refused``."""
        token, answer = self._expect(subject)
        try:
            await self._send(subject, data, token, headers)
            await self._wait(answer, len(data))
        finally:
            self._answers.pop(token, None)
        return answer.messages[0]

    async def request_many(self, subject: str, data: bytes) -> list[Msg]:
        """As ``request`` where the answer is several messages, and one with a status behind them."""
        token, answer = self._expect(subject, many=True)
        try:
            await self._send(subject, data, token, None)
            await self._wait(answer, 4_000_000)
        finally:
            self._answers.pop(token, None)
        return answer.messages

    async def ask(self, subject: str, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the JetStream API. Raises ``Refused`` too."""
        data = b"" if question is None else json.dumps(question).encode()
        return self.understood((await self.request(f"$JS.API.{subject}", data)).data)

    def understood(self, data: bytes) -> dict[str, Any]:
        """JetStream's answer. Raises ``Refused`` where it is an error."""
        try:
            said: dict[str, Any] = json.loads(data)
        except ValueError:
            raise Refused(f"{self._url} gave an answer that is none of JetStream's.", 0) from None
        error = said.get("error")
        if error:
            text = f"{self._url} refused: {error.get('description')}."
            raise Refused(text, int(error.get("err_code", 0)))
        return said

    async def tell(self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send without an answer."""
        await self._send(subject, data, "", headers)

    async def subscribe(self, heard: Callable[[Msg], Awaitable[None]], *, room: int) -> Subscription:
        """Have ``heard`` called with what comes to a subject of our own; ``room`` bytes wait at most."""
        return await self._listen(self._client.new_inbox(), heard, room)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End what ``subscribe`` has begun."""
        self._subscriptions.remove(subscription)
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def _listen(self, subject: str, heard: Callable[[Msg], Awaitable[None]], room: int) -> Subscription:
        subscription = await self._client.subscribe(
            subject, cb=heard, pending_msgs_limit=-1, pending_bytes_limit=room
        )
        self._subscriptions.append(subscription)
        return subscription

    async def alive(self) -> None:
        """Return when the server has answered a ping. Raises ``Lost``."""
        await self._ping(ANSWER)
        if self.dead:
            raise Lost(f"{self._url} does not answer.")

    async def _ping(self, patience: float) -> None:
        """Return when the server has answered, or the connection has ended for want of an answer."""
        ping = asyncio.get_running_loop().create_task(self._flush(patience))
        await asyncio.wait([ping, self._ended], return_when=asyncio.FIRST_COMPLETED)

    async def _flush(self, patience: float) -> None:
        """A task of its own: where the wait for a pong is cancelled, nats-py stumbles over the pong."""
        try:
            await self._client.flush(timeout=patience)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - whatever it is, nobody answers
            self.die("it does not answer")

    def _expect(self, subject: str, *, many: bool = False) -> tuple[str, _Answer]:
        if self.dead:
            raise Lost(f"{self._url} was lost.")
        if self._deaf:
            raise self._denial(subject)
        self._count += 1
        token = f"{self._count:x}{'m' if many else ''}"
        answer = _Answer(subject, asyncio.get_running_loop().create_future())
        self._answers[token] = answer
        return token, answer

    async def _send(self, subject: str, data: bytes, token: str, headers: dict[str, str] | None) -> None:
        reply = f"{self._inbox}.{token}" if token else ""
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers)
        except nats.errors.MaxPayloadError:
            raise BackendUnavailable(
                f"{self._url} takes {self.room} bytes at most: raise max_payload."
            ) from None
        except nats.errors.Error as error:
            raise Lost(f"{self._url} was lost: {type(error).__name__}. The outcome is unknown.") from None

    async def _wait(self, answer: _Answer, size: int) -> None:
        done, _ = await asyncio.wait([answer.done], timeout=ANSWER + size / SLOWEST)
        if not done:
            await self._ping(ALIVE)
            await asyncio.wait([answer.done], timeout=BUSY)
            if not answer.done.done():
                raise Lost(f"{self._url}: nobody answered {answer.subject} in time. The outcome is unknown.")
        answer.done.result()

    async def _answered(self, message: Msg) -> None:
        token = message.subject[len(self._inbox) + 1 :]
        answer = self._answers.get(token)
        if answer is None or answer.done.done():
            return
        status = message.headers.get(_STATUS) if message.headers else None
        if status == "503":
            answer.done.set_exception(
                Absent(f"{self._url}: nobody serves {answer.subject}. Is JetStream on?")
            )
            return
        answer.messages.append(message)
        if not token.endswith("m") or status is not None:
            answer.done.set_result(None)


def give_up(handle: int) -> None:
    """In a forked child: let go of the parent's connection, so that it ends when the parent closes it."""
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, handle)
        os.close(nothing)
