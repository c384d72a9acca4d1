"""A declared operation: its path, its function and its options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from ..errors import SettingError
from .arguments import Signature, signature_of
from .handle import Operation

__all__ = ["Declaration", "declare"]

RESERVED = ("operation_id", "part_name")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What ``@live.operation(path, …)`` said of a function."""

    path: str
    function: Callable[..., Any]
    signature: Signature
    dependencies: Sequence[Any] = ()
    owner: Callable[..., Any] | None = None
    retention: float | None = None
    tags: Sequence[str] = ()
    summary: str | None = None

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__name__", "operation"))

    @property
    def result_model(self) -> Any:
        """The return annotation, for the app's OpenAPI."""
        annotation = self.signature.annotation
        return Any if annotation is inspect.Signature.empty else annotation


def declare(
    path: str,
    function: Callable[..., Any],
    *,
    dependencies: Sequence[Any] = (),
    owner: Callable[..., Any] | None = None,
    retention: float | None = None,
    tags: Sequence[str] = (),
    summary: str | None = None,
) -> Declaration:
    """The declaration of ``function`` at ``path``. Raises ``SettingError`` for what cannot work."""
    _check_path(path)
    if retention is not None and not retention >= 0:
        raise SettingError(f"retention= takes seconds, not {retention!r}.")
    signature = signature_of(function, Operation)
    return Declaration(
        path, function, signature, tuple(dependencies), _as_dependency(owner), retention, tuple(tags), summary
    )


def _check_path(path: str) -> None:
    if not path.startswith("/") or path.endswith("/"):
        raise SettingError(f"An operation's path starts with / and does not end with it, unlike {path!r}.")
    for name in re.findall(r"{([^}:]*)", path):
        if name in RESERVED:
            raise SettingError(f"{{{name}}} in {path!r} is Restive's own name: choose another.")


def _as_dependency(owner: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """``owner`` as FastAPI can solve it: a function of one bare parameter gets the request."""
    if owner is None:
        return None
    parameters = list(inspect.signature(owner).parameters.values())
    if len(parameters) != 1 or parameters[0].annotation is not inspect.Parameter.empty:
        return owner
    if parameters[0].default is not inspect.Parameter.empty:
        return owner

    async def awaited(request: HTTPConnection) -> Any:
        return await owner(request)

    def called(request: HTTPConnection) -> Any:
        return owner(request)

    return awaited if inspect.iscoroutinefunction(owner) else called
