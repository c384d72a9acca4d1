"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): of one key and payload there is one operation.

The record ``operation-key/<digest of owner, method, route and key>`` names the operation and the fingerprint
of its payload. It is saved in the batch that creates the operation, so of several processes one wins, and it
goes with the operation's trace.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.datastructures import UploadFile

from ..backends.port import Backend, Save
from ..errors import Problem
from ..http.fields import Fields, get_all
from .arguments import Parameter, Signature

__all__ = ["Key", "Keys", "Known", "fingerprint", "idempotency_key", "other_payload", "record_name"]

LONGEST = 255
_KEY = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"|([!#-+\--\[\]-~]+)')
"""A structured-field string (RFC 9651, 3.3.3) or bare, of visible characters; a bare one has no comma."""


def idempotency_key(fields: Fields) -> str | None:
    """The key of a request; quoted or bare, it is the same one. Raises ``Problem`` (400)."""
    lines = get_all(fields, b"idempotency-key")
    if not lines:
        return None
    found = _KEY.fullmatch(lines[0].strip(" \t")) if len(lines) == 1 else None
    key = "" if found is None else found[2] or re.sub(r"\\(.)", r"\1", found[1])
    if not 1 <= len(key) <= LONGEST:
        detail = f'One Idempotency-Key of 1 to {LONGEST} visible characters, as in "8e03978e-40d5-43dd".'
        raise Problem(400, "Invalid Idempotency-Key", detail)
    return key


def record_name(kind: str, *scope: str | None) -> str:
    """The name of the record of a key within a scope; ``None`` and ``""`` are not the same scope."""
    said = json.dumps(scope).encode()
    return f"{kind}/{hashlib.sha256(said).hexdigest()[:40]}"


# Payload


def fingerprint(signature: Signature, values: Mapping[str, Any]) -> str:
    """A digest of what a request asks for. Reads every upload; raises ``Problem`` (422) for what is no JSON.

    Fields of a model that the client did not send do not count (a default may be the time of day), nor does
    the order of members and of sets.
    """
    said = []
    for name, parameter in sorted(signature.parameters.items()):
        try:
            said.append(
                [name, _upload(values[name]) if parameter.upload else _plain(parameter, values[name])]
            )
        except (ValueError, TypeError) as error:
            raise Problem(422, "This cannot be stored", f"The value of {name!r} is not JSON.") from error
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _plain(parameter: Parameter, value: Any) -> Any:
    plain = parameter.adapter.dump_python(value, by_alias=False, exclude_unset=True, warnings="error")
    return _canonical(plain)


def _canonical(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    if isinstance(value, Mapping):
        return sorted(([_canonical(key), _canonical(each)] for key, each in value.items()), key=json.dumps)
    if isinstance(value, set | frozenset):
        return sorted((_canonical(each) for each in value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="strings")


def _upload(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return [_upload(each) for each in value]
    return None if value is None else _digest(value)


def _digest(upload: UploadFile) -> list[Any]:
    upload.file.seek(0)
    digest = hashlib.file_digest(upload.file, "sha256").hexdigest()  # type: ignore[arg-type]
    size = upload.file.tell()
    upload.file.seek(0)
    return [digest, size, upload.filename, upload.content_type]


# Records


@dataclass(frozen=True, slots=True)
class Key:
    """What a submission comes with: the name of its key's record, and its payload's fingerprint."""

    name: str
    fingerprint: str
    version: int = 0
    """Of the record that is to be replaced, whose operation there never was."""

    def step(self, identity: str) -> Save:
        """Bind the key to the operation that is created in the same batch."""
        return Save(self.name, msgspec.json.encode(_Bound(self.fingerprint, identity)), self.version)


@dataclass(frozen=True, slots=True)
class Known:
    """Which operation a key made."""

    fingerprint: str
    operation: str
    version: int


class _Bound(msgspec.Struct, frozen=True):
    fingerprint: str
    operation: str


_BOUND = msgspec.json.Decoder(_Bound)


class Keys:
    """The records of keys. ``find`` blocks."""

    def __init__(self, backend: Callable[[], Backend]) -> None:
        self._backend = backend

    def find(self, name: str) -> Known | None:
        """What the key of that record made."""
        found = self._backend().load(name)
        if found is None:
            return None
        bound = _BOUND.decode(found.value)
        return Known(bound.fingerprint, bound.operation, found.version)


def other_payload() -> Problem:
    """What is answered where the key came with another payload before."""
    detail = "This Idempotency-Key was used for another payload. A new operation takes a new key."
    return Problem(422, "The key is used already", detail)
