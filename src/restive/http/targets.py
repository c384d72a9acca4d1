"""Targets: the path and query of a resource as its clients write them, in RFC 3986 normal form.

Normal form (6.2.2): escapes in upper case and only where they are needed, no dot segments, no empty
query. Empty segments stay, since they mean something; one at the start would be an authority.
Whatever two parsers could read differently (backslash, control characters, …) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from ..errors import Problem

__all__ = ["MAX_TARGET", "ancestors", "check", "normalize", "scope_target"]

MAX_TARGET = 8192
"""Bytes of the longest target."""

_TITLE = "Invalid target"
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SAFE = "/!$&'()*+,;=:@"  # with the unreserved ones: what a path may hold as it is
_CHARACTER = r"A-Za-z0-9\-._~!$&'()*+,;=:@/"
_NORMAL = re.compile(rf"/(?!/)[{_CHARACTER}]*+(?:\?[{_CHARACTER}?]++)?+")
_ODD = re.compile(rf"%([0-9A-Fa-f]{{2}})?+|[^{_CHARACTER}?]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+:")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\#]|[^\x00-\x7f]")


def normalize(target: str, base: str = "/") -> str:
    """The normal form of ``target``, a path with an optional query, at most 8 KiB.

    A relative reference is resolved against ``base``, a path in normal form (RFC 3986, 5.2).

    Raises ``Problem`` (400) where ``target`` is empty or too long, has a scheme, an authority or a
    fragment, or holds a backslash, a control character (raw, or escaped in the path), NUL, a
    character that is not ASCII or an invalid escape.
    """
    if len(target) <= MAX_TARGET and "/." not in target and _NORMAL.fullmatch(target):
        return target
    _refuse_foreign(target)
    path, _, query = target.partition("?")
    path = _without_dots(_resolve(_escapes(path, controls=False), base.partition("?")[0]))
    if path.startswith("//"):
        raise _problem("An empty first segment reads as an authority.")
    normal = f"{path}?{_escapes(query, controls=True)}" if query else path
    if len(normal) > MAX_TARGET:
        raise _problem(f"A target has at most {MAX_TARGET} bytes.")
    return normal


def check(target: str, base: str = "/") -> str:
    """The normal form of ``target``, which has to be written in it already.

    A relative reference may begin with ``..`` segments and hold no other dot segment.

    Raises ``Problem`` (400) as ``normalize`` does; where it is only written otherwise (``%2e%2e``,
    ``%3a`` for ``%3A``, ``/a/../b``, …) the detail names the normal form.
    """
    normal = normalize(target, base)
    if target == normal or (target[0] != "/" and _is_plain_reference(target)):
        return normal
    raise Problem(400, "Target not in normal form", f"Write {normal}")


def scope_target(scope: Mapping[str, Any]) -> str:
    """The target of an ASGI request as its client wrote it, root path included, in normal form.

    Servers put the root path into ``path`` (ASGI, uvicorn) or leave it out (hypercorn, test
    clients); a path that does not begin with it gets it, which is how Starlette reads both.

    Raises ``Problem`` (400) as ``normalize`` does.
    """
    path = _written_path(scope)
    if not path.startswith("/"):
        raise _problem("A request's target is a path.")
    root = str(scope.get("root_path") or "").rstrip("/")
    if root and not _is_within(str(scope["path"]), root):
        path = quote(root, safe=_SAFE) + path
    query = _ascii(scope.get("query_string") or b"")
    return normalize(f"{path}?{query}" if query else path)


def ancestors(path: str, root: str = "") -> list[str]:
    """The paths above ``path``, nearest first: ``/a/b/c`` has ``/a/b`` and ``/a``.

    Never ``/`` nor ``root``, the path where the app begins.
    """
    root = root.rstrip("/")
    least = len(root) if _is_within(path, root) else 0
    found = []
    end = path.rfind("/")
    while end > least:
        found.append(path[:end])
        end = path.rfind("/", 0, end)
    return found


def _refuse_foreign(target: str) -> None:
    if not target:
        raise _problem("A target is not empty.")
    if len(target) > MAX_TARGET:
        raise _problem(f"A target has at most {MAX_TARGET} bytes.")
    if _FORBIDDEN.search(target):
        raise _problem("A target holds no fragment, backslash, control character or unescaped non-ASCII.")
    if target.startswith("//") or _SCHEME.match(target):
        raise _problem("A target is a path and a query, without scheme and authority.")


def _escapes(text: str, *, controls: bool) -> str:
    def normal(match: re.Match[str]) -> str:
        digits = match[1]
        if digits is None:
            if match[0] == "%":
                raise _problem("A % is followed by two hexadecimal digits; the sign itself is %25.")
            return f"%{ord(match[0]):02X}"
        code = int(digits, 16)
        if code == 0 or (not controls and (code < 0x20 or code == 0x7F)):
            raise _problem("A path holds no control character and a target no NUL.")
        character = chr(code)
        return character if character in _UNRESERVED else f"%{code:02X}"

    return _ODD.sub(normal, text)


def _resolve(path: str, base: str) -> str:
    if path.startswith("/"):
        return path
    return base[: base.rfind("/") + 1] + path if path else base


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4, in one pass."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def _is_plain_reference(target: str) -> bool:
    path, mark, query = target.partition("?")
    segments = path.split("/")
    while segments and segments[0] == "..":
        del segments[0]
    return (
        not {".", ".."}.intersection(segments)
        and _escapes(path, controls=False) == path
        and _escapes(query, controls=True) == query
        and bool(query) == bool(mark)
    )


def _written_path(scope: Mapping[str, Any]) -> str:
    """``raw_path`` where it says what ``path`` says, with or without the root path; else ``path`` escaped."""
    path: str = scope["path"]
    raw = scope.get("raw_path")
    if raw is not None:
        written = _ascii(raw)
        if _says(written, path):
            return written
        written = quote(str(scope.get("root_path") or ""), safe=_SAFE) + written
        if _says(written, path):
            return written
    return quote(path, safe=_SAFE)


def _says(written: str, path: str) -> bool:
    return written == path or ("%" in written and unquote(written) == path)


def _is_within(path: str, root: str) -> bool:
    return path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}


def _ascii(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise _problem("A target holds no unescaped non-ASCII.") from None


def _problem(detail: str) -> Problem:
    return Problem(400, _TITLE, detail)
