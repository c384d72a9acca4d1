"""What is told of the end of an operation. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from ..record import OperationRecord

__all__ = ["body_of", "document_of", "message_id"]


def message_id(operation: OperationRecord) -> str:
    """The same in every attempt, so that receivers can tell a repetition."""
    return f"msg_{operation.id}"


def body_of(operation: OperationRecord) -> bytes:
    """The body of the webhook (Standard Webhooks: type, timestamp, data)."""
    document = operation.document()
    message = {
        "type": f"operation.{operation.status}",
        "timestamp": document["finished"],
        "data": document,
    }
    return msgspec.json.encode(message)


def document_of(operation: OperationRecord) -> dict[str, Any]:
    """The final document as plain values, for a function of the app."""
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(operation.document()))
    return document
