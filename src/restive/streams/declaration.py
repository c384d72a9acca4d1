"""A declared stream: its path and its options."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any
from urllib.parse import quote

from starlette.routing import compile_path

from ..errors import SettingError
from ..http.fields import is_field_value, media_type
from .content import ANY, OCTETS
from .lives import Life

__all__ = ["Declaration", "declare"]

RESERVED = frozenset({"items", "item", "offset", "limit"})
"""What the methods of a ``Stream`` take by name."""

SAFE = "/!$&'()*+,;=:@"
"""What a path may hold as it is, beside the unreserved characters (RFC 3986, 3.3)."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What ``live.stream(path, …)`` said."""

    path: str
    content_type: str = "application/json"
    """The type of its items; ``*/*``: whoever creates it says."""
    writable: bool = False
    """Whether clients create, append, close and delete."""
    public: bool = False
    """Whether shared caches may keep what is read."""
    dependencies: Sequence[Any] = ()
    """Of every request."""
    write_dependencies: Sequence[Any] = ()
    """Of writes, behind the others."""
    ttl: float | None = None
    """Seconds without use after which it is gone."""
    keep: int = 0
    """Items that are kept at least, once there are more; 0: all."""
    tags: Sequence[str] = ()

    @cached_property
    def _compiled(self) -> tuple[re.Pattern[str], str, dict[str, Any]]:
        return compile_path(self.path)

    @property
    def pattern(self) -> re.Pattern[str]:
        """What its paths match, decoded and without the root path."""
        return self._compiled[0]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The converters of its path's parameters."""
        return self._compiled[2]

    def path_of(self, given: Mapping[str, Any]) -> str:
        """The path in normal form with these parameters. Raises ``TypeError``, ``ValueError``."""
        if given.keys() != self.parameters.keys():
            wanted, got = (", ".join(names) or "none" for names in (self.parameters, given))
            raise TypeError(f"The stream at {self.path} takes the parameters {wanted}, not {got}.")
        values = {}
        for name, value in given.items():
            converter = self.parameters[name]
            text = str(value) if converter.regex == "[^/]+" else str(converter.to_string(value))
            if not _leads_somewhere(text, segments=converter.regex == ".*"):
                raise ValueError(f"{name}={value!r} cannot stand in {self.path}: no URL would lead there.")
            values[name] = quote(text, safe=SAFE)
        return _filled(self._compiled[1], values)

    @property
    def default_type(self) -> str:
        """The type of a stream that is created without one."""
        return OCTETS if self.content_type == ANY else self.content_type

    def life(self, path: str, content_type: str | None = None) -> Life:
        """What a stream that begins now is to be."""
        return Life(path=path, content_type=content_type or self.default_type, ttl=self.ttl, keep=self.keep)


def _leads_somewhere(text: str, *, segments: bool) -> bool:
    """Whether a URL with this in it reaches the route: clients resolve dot segments."""
    parts = text.split("/")
    return bool(text) and (segments or len(parts) == 1) and not {".", ".."}.intersection(parts)


def _filled(form: str, values: Mapping[str, str]) -> str:
    """The form of a path with its parameters, whose own text holds what a path holds."""
    parts = re.split(r"{([^}]*)}", form)
    return "".join(values[part] if at % 2 else quote(part, safe=SAFE + "%") for at, part in enumerate(parts))


OPTIONS = frozenset(field.name for field in fields(Declaration)) - {"path"}


def declare(path: str, **options: Any) -> Declaration:
    """The declaration of a stream at ``path``; ``options`` are the further fields of ``Declaration``.

    Raises ``SettingError`` for what cannot work.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise SettingError(f"A stream's path starts with / and does not end with it, unlike {path!r}.")
    for name in options.keys() - OPTIONS:
        known = ", ".join(sorted(OPTIONS))
        raise SettingError(f"stream({path!r}) has no option {name!r}; there are {known}.")
    declaration = Declaration(path=path, **options)
    for name in declaration.parameters.keys() & RESERVED:
        raise SettingError(f"{{{name}}} in {path!r} is a name of Restive's own: choose another.")
    _check(declaration)
    return declaration


def _check(declaration: Declaration) -> None:
    given = declaration.content_type
    if not is_field_value(given) or not (given == ANY or media_type(given)):
        raise SettingError(f"content_type= takes a media type, or {ANY} for any, not {given!r}.")
    ttl: Any = declaration.ttl
    keep: Any = declaration.keep
    if ttl is not None and not (_is_number(ttl) and 0 < ttl < math.inf):
        raise SettingError(f"ttl= takes seconds, more than 0, not {ttl!r}.")
    if not _is_number(keep) or keep != int(keep) or keep < 0:
        raise SettingError(f"keep= takes a number of items, or 0 for all, not {keep!r}.")
    if declaration.write_dependencies and not declaration.writable:
        raise SettingError("write_dependencies= guard what writable=True allows: say that, too.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
