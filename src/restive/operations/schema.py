"""The operation's document and a part's description as Pydantic models, for the app's OpenAPI."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["models"]


@cache
def models() -> tuple[type[BaseModel], type[BaseModel]]:
    """The models of operation and part. Pydantic comes with FastAPI and is loaded here."""
    from pydantic import BaseModel, ConfigDict, Field

    class OperationProgress(BaseModel):
        completed: float
        total: float | None
        unit: str | None
        message: str | None
        rate: float | None = Field(description="Per second.")
        eta: float | None = Field(description="Seconds left.")

    class OperationQueue(BaseModel):
        position: int | None = Field(description="1 is next; null while it waits for its time.")
        starts: datetime | None = Field(description="Estimated.")

    class OperationProblem(BaseModel):
        """A problem document (RFC 9457)."""

        model_config = ConfigDict(extra="allow")
        type: str = "about:blank"
        title: str
        status: int
        detail: str | None = None

    class Operation(BaseModel):
        id: str
        status: Literal["queued", "running", "succeeded", "failed", "canceled"]
        created: datetime
        started: datetime | None
        finished: datetime | None
        attempt: int = Field(description="The run that it is in, or waits for.")
        queue: OperationQueue | None = Field(description="While it is queued.")
        progress: OperationProgress
        parts: int = Field(description="How many are finished.")
        result: Any = Field(description="The return value, where its JSON has at most 64 KiB.")
        error: OperationProblem | None
        links: dict[str, str]

    class OperationPart(BaseModel):
        name: str
        url: str
        type: str
        size: int
        digest: str = Field(description="As Repr-Digest (RFC 9530) has it.")

    return Operation, OperationPart
