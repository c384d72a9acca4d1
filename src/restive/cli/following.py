"""One operation, followed on stderr: its progress, the URL of each part as it appears, its outcome."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ..errors import ClientError
from .display import Display
from .exits import Failure

if TYPE_CHECKING:
    from ..client.operation import AsyncOperation

__all__ = ["Following"]

STATUSES = {"queued", "running", "succeeded", "failed", "canceled"}

REST = 10.0
"""Seconds that the last parts may take to be shown when the outcome is known."""


class Following:
    """Shows an operation until it ends."""

    def __init__(self, operation: AsyncOperation, shown: Display) -> None:
        self._operation = operation
        self._shown = shown

    @property
    def url(self) -> str:
        """Where it can be followed."""
        return self._operation.url

    async def outcome(self) -> Any:
        """The result. Raises ``OperationFailed``, ``OperationCanceled``, or ``Failure`` for what is none."""
        document = await self._operation.status()
        if document["status"] not in STATUSES or "progress" not in document:
            raise Failure(f"{self.url} is no operation.")
        parts = asyncio.ensure_future(self._parts())
        progress = asyncio.ensure_future(self._progress())
        try:
            try:
                result = await self._operation.result()
            except ClientError:
                await asyncio.wait({parts, progress}, timeout=REST)
                raise
            await asyncio.wait({parts, progress}, timeout=REST)
            return result
        finally:
            for each in (parts, progress):
                each.cancel()
            await asyncio.gather(parts, progress, return_exceptions=True)

    async def cancel(self) -> str:
        """Ask the server to cancel it, wait until it has ended, and return its final status."""
        await self._operation.cancel()
        status = ""
        async with aclosing(self._operation.progress()) as documents:
            async for document in documents:
                status = document["status"]
        return status

    async def _progress(self) -> None:
        async with aclosing(self._operation.progress()) as documents:
            async for document in documents:
                self._shown.show(document)

    async def _parts(self) -> None:
        async with aclosing(self._operation.parts()) as parts:
            async for part in parts:
                self._shown.say(part.url)
