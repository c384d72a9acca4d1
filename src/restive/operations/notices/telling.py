"""Tells those concerned how one operation ended: the app's function, and the receiver of the webhook.

What a receiver's URL holds beyond its origin can be secret, and is not logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ...http.freshness import retry_after
from ...settings import Settings
from ...telemetry.tracing import carrier
from ..record import OperationRecord
from .addresses import networks_of
from .blocking import in_thread
from .book import Notice
from .message import body_of, document_of, message_id
from .receiver import Receiver, parse_receiver
from .schedule import verdict
from .sending import Answer, Refused, Resolve, Sender
from .signature import secrets_of, signed_fields

__all__ = ["OnEnd", "Teller", "Told"]

logger = logging.getLogger("restive.operations")

OnEnd = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What is done; what is not is to be tried again, ``asked`` seconds later at least."""

    called: bool
    sent: bool
    asked: float | None = None


class Teller:
    """Tells by the settings' secret and networks."""

    def __init__(self, settings: Settings, clock: Callable[[], float], resolve: Resolve) -> None:
        self._settings, self._clock, self._resolve = settings, clock, resolve
        self._sender: Sender | None = None

    async def tell(self, operation: OperationRecord, on_end: OnEnd | None, notice: Notice) -> Told:
        """Do what ``notice`` does not call done. Raises nothing but what cancels it."""
        called, (sent, asked) = await asyncio.gather(
            self._call(operation, None if notice.called else on_end, notice.attempt),
            self._send(operation, None if notice.sent else operation.webhook, notice.attempt),
        )
        return Told(called, sent, asked)

    async def _call(self, operation: OperationRecord, on_end: OnEnd | None, attempt: int) -> bool:
        if on_end is None:
            return True
        try:
            await in_thread(_called, on_end, document_of(operation))
        except Exception:
            said = {"operation": operation.id}
            logger.exception("Operation %s: on_end raised (attempt %d).", operation.id, attempt, extra=said)
            return False
        return True

    async def _send(
        self, operation: OperationRecord, url: str | None, attempt: int
    ) -> tuple[bool, float | None]:
        """Whether the webhook is done, and what Retry-After asked for."""
        if url is None:
            return True, None
        try:
            receiver = parse_receiver(url)
        except ValueError as error:
            _log(logging.ERROR, operation, "its URL", attempt, f"not sent: {error}")
            return True, None
        try:
            answer = await self._post(operation, receiver)
        except Refused as refused:
            _log(logging.ERROR, operation, receiver.origin, attempt, f"not sent: {refused}")
            return True, None
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may do better
            _log(logging.WARNING, operation, receiver.origin, attempt, f"{type(error).__name__}: {error}")
            return False, None
        return self._judged(operation, receiver, attempt, answer)

    def _judged(
        self, operation: OperationRecord, receiver: Receiver, attempt: int, answer: Answer
    ) -> tuple[bool, float | None]:
        said = verdict(answer.status)
        if said != "taken":
            _log(logging.WARNING, operation, receiver.origin, attempt, f"answered {answer.status}")
        return said != "retry", retry_after(answer.fields, self._clock())

    async def _post(self, operation: OperationRecord, receiver: Receiver) -> Answer:
        if self._sender is None:
            self._sender = Sender(networks_of(self._settings.webhook_networks), self._resolve)
        keys = secrets_of(self._settings.webhook_secret or "")
        body = body_of(operation)
        fields = {**signed_fields(keys, message_id(operation), self._clock(), body), **(carrier() or {})}
        return await self._sender.post(receiver, fields, body)


def _called(on_end: OnEnd, document: dict[str, Any]) -> None:
    """Call the app's function; a coroutine gets an event loop of its own."""
    result = on_end(document)
    if inspect.isawaitable(result):
        asyncio.run(_awaited(result))


async def _awaited(result: Awaitable[Any]) -> None:
    await result


def _log(level: int, operation: OperationRecord, whom: str, attempt: int, what: str) -> None:
    extra = {"operation": operation.id}
    text = "Operation %s: webhook to %s (attempt %d): %s"
    logger.log(level, text, operation.id, whom, attempt, what[:300], extra=extra)
