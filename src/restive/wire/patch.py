"""JSON Patch (RFC 6902) between two renderings: ``diff`` for the server, ``apply`` for the client.

Documents are what a JSON decoder returns. They are compared as JSON: ``true`` is not ``1``. ``diff``
is not minimal but cheap: arrays are compared by common beginning and end, the middle index by index.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from operator import eq
from typing import Any

import msgspec

__all__ = ["apply", "diff"]

Operation = dict[str, Any]
MAX_DEPTH = 64
"""Levels that ``diff`` goes down; what differs below is replaced as a whole."""

_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode


# -- diff --------------------------------------------------------------------------------------


def diff(a: Any, b: Any) -> list[Operation]:
    """The operations that make ``b`` of ``a``; none where they are the same."""
    return _diff(a, b, "", 0)


def _diff(a: Any, b: Any, path: str, depth: int) -> list[Operation]:
    if _json(a) == _json(b):
        return []
    replacement = [{"op": "replace", "path": path, "value": b}]
    if depth == MAX_DEPTH:
        return replacement
    if isinstance(a, dict) and isinstance(b, dict):
        changes = _diff_objects(a, b, path, depth + 1)
    elif isinstance(a, list) and isinstance(b, list):
        changes = _diff_arrays(a, b, path, depth + 1)
    else:
        return replacement
    return changes if len(_json(changes)) < len(_json(replacement)) else replacement


def _diff_objects(a: dict[str, Any], b: dict[str, Any], path: str, depth: int) -> list[Operation]:
    changes: list[Operation] = [{"op": "remove", "path": _join(path, name)} for name in a if name not in b]
    for name, value in b.items():
        if name in a:
            changes += _diff(a[name], value, _join(path, name), depth)
        else:
            changes.append({"op": "add", "path": _join(path, name), "value": value})
    return changes


def _diff_arrays(a: list[Any], b: list[Any], path: str, depth: int) -> list[Operation]:
    start, end = _common(a, b)
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    changes: list[Operation] = []
    for index, (before, after) in enumerate(zip(old, new, strict=False), start):
        changes += _diff(before, after, f"{path}/{index}", depth)
    # From the last one down, so that the indices of the others stay as they are.
    for index in range(start + len(old) - 1, start + len(new) - 1, -1):
        changes.append({"op": "remove", "path": f"{path}/{index}"})
    for index in range(start + len(old), start + len(new)):
        changes.append({"op": "add", "path": f"{path}/{index}", "value": b[index]})
    return changes


def _common(a: list[Any], b: list[Any]) -> tuple[int, int]:
    """How many items are the same at the beginning and, behind these, at the end."""
    ours, theirs = [_json(item) for item in a], [_json(item) for item in b]
    start = _same(ours, theirs)
    return start, _same(ours[start:][::-1], theirs[start:][::-1])


def _same(a: list[bytes], b: list[bytes]) -> int:
    return sum(takewhile(bool, map(eq, a, b)))


def _join(path: str, name: str) -> str:
    return f"{path}/{name.replace('~', '~0').replace('/', '~1')}"


# -- apply -------------------------------------------------------------------------------------

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_BAD_ESCAPE = re.compile(r"~(?![01])")


def apply(document: Any, ops: Sequence[Any]) -> Any:
    """``document`` with ``ops`` carried out in their order. Neither of them is changed.

    Raises ``ValueError`` where an operation is malformed or cannot be carried out (RFC 6902,
    section 5): then there is no result, and nothing was done.
    """
    # A pointer's first token is always empty (RFC 6901, section 3), so the root is an entry as others are.
    holder: dict[str, Any] = {"": document}
    for operation in ops:
        _carry_out(holder, operation)
    if "" not in holder:
        raise ValueError("The patch removes the document.")
    return holder[""]


def _carry_out(holder: dict[str, Any], operation: Any) -> None:
    name = operation.get("op") if isinstance(operation, Mapping) else None
    if not isinstance(name, str) or name not in _OPERATIONS:
        raise ValueError(f"There is no such operation: {operation!r}.")
    _OPERATIONS[name](holder, operation)


def _add(holder: dict[str, Any], operation: Mapping[str, Any]) -> None:
    _insert(holder, _pointer(operation, "path"), _value(operation))


def _remove(holder: dict[str, Any], operation: Mapping[str, Any]) -> None:
    _take(holder, _pointer(operation, "path"))


def _replace(holder: dict[str, Any], operation: Mapping[str, Any]) -> None:
    path = _pointer(operation, "path")
    parent = _parent(holder, path)
    parent[_key(parent, path[-1])] = _value(operation)


def _move(holder: dict[str, Any], operation: Mapping[str, Any]) -> None:
    source, target = _pointer(operation, "from"), _pointer(operation, "path")
    if len(source) < len(target) and target[: len(source)] == source:
        raise ValueError("A value cannot be moved into itself (RFC 6902, section 4.4).")
    _insert(holder, target, _take(holder, source))


def _copy(holder: dict[str, Any], operation: Mapping[str, Any]) -> None:
    # Shared, not copied: whatever is changed later is copied on its way.
    _insert(holder, _pointer(operation, "path"), _get(holder, _pointer(operation, "from")))


def _test(holder: dict[str, Any], operation: Mapping[str, Any]) -> None:
    if not _equal(_get(holder, _pointer(operation, "path")), _value(operation)):
        raise ValueError(f"The value at {operation['path']!r} is another.")


_OPERATIONS: Mapping[str, Callable[[dict[str, Any], Mapping[str, Any]], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _pointer(operation: Mapping[str, Any], member: str) -> list[str]:
    pointer = operation.get(member)
    if not isinstance(pointer, str) or (pointer and pointer[0] != "/") or _BAD_ESCAPE.search(pointer):
        raise ValueError(f"`{member}` is no JSON Pointer: {pointer!r}.")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise ValueError("The operation has no `value`.")
    return operation["value"]


def _get(holder: dict[str, Any], path: list[str]) -> Any:
    value: Any = holder
    for token in path:
        value = value[_key(value, token)]
    return value


def _parent(holder: dict[str, Any], path: list[str]) -> Any:
    """The container of what ``path`` names; it and those above it are replaced by copies."""
    container: Any = holder
    for token in path[:-1]:
        key = _key(container, token)
        child = container[key]
        if not isinstance(child, dict | list):
            raise ValueError(f"There is nothing below {token!r}.")  # noqa: TRY004 - a document, not a type
        child = container[key] = child.copy()
        container = child
    return container


def _insert(holder: dict[str, Any], path: list[str], value: Any) -> None:
    parent, last = _parent(holder, path), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    else:
        # "-" is the place behind the last item (RFC 6901, section 4).
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)


def _take(holder: dict[str, Any], path: list[str]) -> Any:
    parent = _parent(holder, path)
    return parent.pop(_key(parent, path[-1]))


def _key(container: Any, token: str) -> Any:
    """The key or index of an entry that is there."""
    if isinstance(container, list):
        return _index(token, len(container) - 1)
    if not isinstance(container, dict) or token not in container:
        raise ValueError(f"There is no {token!r}.")
    return token


def _index(token: str, most: int) -> int:
    if not _INDEX.fullmatch(token) or int(token) > most:
        raise ValueError(f"There is no index {token!r}.")
    return int(token)


def _equal(a: Any, b: Any) -> bool:
    """RFC 6902, section 4.6: numbers are compared as numbers, and no boolean is one."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(value, b[name]) for name, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
