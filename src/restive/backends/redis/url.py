"""What a Redis URL says: ``redis://[user[:password]@]host[:port][,host[:port]…][/db][?option=value&…]``.

``rediss`` is the same over TLS. Several hosts are nodes of one cluster, or a primary and its replicas; the
one that takes writes is found. What cannot work raises SettingError, which never shows the password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from restive.errors import SettingError

__all__ = ["Address", "RedisUrl", "parse"]

Address = tuple[str, int]
PORT = 6379
TIMEOUT = 2.0


@dataclass(frozen=True)
class RedisUrl:
    """Where the server is and how to connect to it."""

    addresses: tuple[Address, ...]
    tls: bool
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = TIMEOUT
    """Seconds until an answer has to have come."""
    replicas: int = 0
    """How many replicas have to have a durable batch before it is acknowledged."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the TLS connection, by redis-py's names."""


def parse(url: str) -> RedisUrl:
    """Read a URL. Raises SettingError."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that do not match
        _refuse("its host is not understood")
    if parts.fragment or "#" in url:
        _refuse("write # as %23")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    values, options = _options(parts.query, tls=parts.scheme == "rediss")
    return RedisUrl(
        addresses=tuple(_address(host) for host in hosts.split(",")),
        tls=parts.scheme == "rediss",
        db=_db(parts.path),
        user=unquote(user) or None,
        password=unquote(password) or None,
        options=options,
        **values,
    )


def _refuse(why: str) -> NoReturn:
    raise SettingError(
        f"The URL of the Redis backend cannot work: {why}. It is redis://[user[:password]@]host[:port][/db], "
        "or rediss:// for TLS, with what is special in user and password percent-encoded."
    )


def _address(text: str) -> Address:
    """Host and port; an IPv6 address is in brackets."""
    bracketed, closed, rest = text.rpartition("]")
    host, _, port = rest.partition(":")
    if closed:
        if not bracketed.startswith("[") or host:
            _refuse("its host is not understood")
        host = bracketed[1:]
    host = unquote(host) or "localhost"
    if any(character in host for character in " /\\@\0") or (port and not port.isdecimal()):
        _refuse("its host or port is not understood")
    number = int(port or PORT)
    if not 0 < number < 65536:
        _refuse(f"there is no port {number}")
    return host, number


def _db(path: str) -> int:
    number = path.strip("/")
    if not number:
        return 0
    if not number.isdecimal():
        _refuse(f"its path is the number of a database, as /0, not {path[:40]!r}")
    return int(number)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.05 <= seconds <= 60:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _requirement(text: str) -> str:
    if text not in {"required", "optional", "none"}:
        raise ValueError(text)
    return text


VALUES: dict[str, Callable[[str], Any]] = {"timeout": _seconds, "replicas": _count}
TLS: dict[str, Callable[[str], Any]] = {
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": _requirement,
    "ssl_check_hostname": _flag,
}


def _options(query: str, *, tls: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our own options, and those of redis-py for TLS."""
    values: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in TLS and not tls:
            _refuse(f"{name} is for rediss://")
        read = VALUES.get(name) or TLS.get(name)
        if read is None:
            _refuse(f"there is no option {name[:40]!r}; there are {', '.join([*VALUES, *TLS])}")
        try:
            (values if name in VALUES else options)[name] = read(text)
        except (ValueError, KeyError):
            _refuse(f"{name} cannot be {text[:40]!r}")
    return values, options
