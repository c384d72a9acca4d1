"""A declared operation: its path, its function and its options."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from starlette.requests import HTTPConnection

from ..errors import SettingError
from .arguments import Signature, signature_of
from .handle import Operation

__all__ = ["Declaration", "declare"]

RESERVED = ("operation_id", "part_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What ``@live.operation(path, …)`` said of a function. Times are in seconds."""

    path: str
    function: Callable[..., Any]
    signature: Signature
    dependencies: Sequence[Any] = ()
    owner: Callable[..., Any] | None = None
    engine: Any = None
    """As the setting of that name; None: the setting."""
    concurrency: int | None = None
    """How many run at once in one process; None: as many as the engine has workers."""
    timeout: float | None = None
    """How long one attempt may run; None: as long as it likes."""
    retries: int = 0
    """How often it is run again after an exception, an interruption or a timeout."""
    backoff: float = 1.0
    """The time before the first retry; each further one waits twice as long."""
    retention: float | None = None
    """How long it is kept once it is final; None: the setting."""
    priority: int | Callable[..., Any] = 0
    """Higher goes first; a number, or a dependency that gives one."""
    not_before: Callable[..., Any] | None = None
    """A dependency that gives the earliest start: a datetime, a number of seconds from now, or None."""
    webhook: str | Callable[..., Any] | None = None
    """Where its end is told: a URL, or a dependency that gives one or None."""
    on_end: Callable[[dict[str, Any]], Any] | None = None
    """Called with the final document, at least once."""
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

    @property
    def notifies(self) -> bool:
        """Whether somebody may want to be told of its end."""
        return self.webhook is not None or self.on_end is not None


OPTIONS = frozenset(field.name for field in fields(Declaration)) - {"path", "function", "signature"}
DEPENDENCIES = ("owner", "priority", "not_before", "webhook")


def declare(path: str, function: Callable[..., Any], **options: Any) -> Declaration:
    """The declaration of ``function`` at ``path``; ``options`` are the further fields of ``Declaration``.

    Raises ``SettingError`` for what cannot work.
    """
    _check_path(path)
    for name in options.keys() - OPTIONS:
        raise SettingError(
            f"@operation({path!r}) has no option {name!r}; there are {', '.join(sorted(OPTIONS))}."
        )
    _check_numbers(options)
    if options.get("on_end") is not None and not callable(options["on_end"]):
        raise SettingError(f"on_end= takes a function of the final document, not {options['on_end']!r}.")
    for name in DEPENDENCIES:
        if callable(options.get(name)):
            options[name] = _as_dependency(options[name])
    signature = signature_of(function, Operation)
    return Declaration(path=path, function=function, signature=signature, **options)


def _check_path(path: str) -> None:
    if not path.startswith("/") or path.endswith("/"):
        raise SettingError(f"An operation's path starts with / and does not end with it, unlike {path!r}.")
    for name in re.findall(r"{([^}:]*)", path):
        if name in RESERVED:
            raise SettingError(f"{{{name}}} in {path!r} is Restive's own name: choose another.")


def _check_numbers(options: Mapping[str, Any]) -> None:
    for name, least in (("timeout", 0.001), ("backoff", 0.0), ("retention", 0.0)):
        value = options.get(name)
        if value is not None and not (_is_number(value) and value >= least):
            raise SettingError(f"{name}= takes seconds, at least {least:g}, not {value!r}.")
    for name, least in (("concurrency", 1), ("retries", 0)):
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise SettingError(f"{name}= takes a whole number, at least {least}, not {value!r}.")
    priority = options.get("priority", 0)
    if not callable(priority) and (not isinstance(priority, int) or isinstance(priority, bool)):
        raise SettingError(
            f"priority= takes a whole number or a dependency that gives one, not {priority!r}."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _as_dependency(given: Callable[..., Any]) -> Callable[..., Any]:
    """``given`` as FastAPI can solve it: a function of one bare parameter gets the request."""
    parameters = list(inspect.signature(given).parameters.values())
    if len(parameters) != 1 or parameters[0].annotation is not inspect.Parameter.empty:
        return given
    if parameters[0].default is not inspect.Parameter.empty:
        return given

    async def awaited(request: HTTPConnection) -> Any:
        return await given(request)

    def called(request: HTTPConnection) -> Any:
        return given(request)

    return awaited if inspect.iscoroutinefunction(given) else called
