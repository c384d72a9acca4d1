"""The key of a rendering: all of a GET that a look repeats. What is not in the key is not in the request.

``look_scope`` builds the look's ASGI scope from the key alone, so two watchers with equal keys cannot
be told apart by the app, and one watcher's connection cannot leak into another's look (design 2.1, 2.3).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..errors import Problem
from .fields import Fields, without
from .neutral import NEUTRAL, Neutral, is_harmless
from .once import once
from .targets import scope_target

__all__ = ["NEUTRAL", "NOBODY", "Neutral", "RequestKey", "look_scope", "request_key", "sibling"]

NOBODY = ("192.88.99.1", 0)
"""The client address of every look without ``key=["client"]``: public and assigned to nobody (RFC 7526)."""

_SMALL = (1 << 60) - 1
"""Hashes up to this take the least memory."""

_SCHEMES = {"ws": "http", "wss": "https"}
_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})++"
_AUTHORITY = re.compile(rf"(?:\[[0-9A-Fa-f:.]++\]|{_NAME})(?::[0-9]{{0,5}})?+")
_MAX_AUTHORITY = 300


class Place(NamedTuple):
    """Where a request goes, and who asks as far as no field says it: the same for nearly all clients."""

    scheme: str
    server: tuple[str, int | None] | None
    authority: str
    root_path: str
    client: tuple[str, int]
    tls: Any | None


@dataclass(frozen=True, slots=True, init=False)
class RequestKey:
    """A GET as far as its response may depend on it. Two watchers share a rendering where theirs are equal.

    ``target`` is the client's own path and query in normal form, root path included; ``fields`` are
    sorted by name, without Host, which is ``authority``. ``tls`` is what the client's certificate says.
    """

    place: Place
    target: str
    fields: Fields
    _hash: int = field(repr=False, compare=False)

    def __init__(
        self,
        scheme: str,
        server: tuple[str, int | None] | None,
        authority: str,
        root_path: str,
        target: str,
        fields: Fields = (),
        client: tuple[str, int] = NOBODY,
        tls: Any | None = None,
    ) -> None:
        place = Place(scheme, server, authority, root_path, client, tls)
        put = object.__setattr__
        put(self, "place", once(place) if client == NOBODY and tls is None else place)
        put(self, "target", target)
        put(self, "fields", fields)
        put(self, "_hash", hash((place, target, fields)) & _SMALL)

    def __hash__(self) -> int:
        return self._hash

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self.place.scheme

    @property
    def server(self) -> tuple[str, int | None] | None:
        """The server's address, as the ASGI scope has it."""
        return self.place.server

    @property
    def authority(self) -> str:
        """The Host."""
        return self.place.authority

    @property
    def root_path(self) -> str:
        """Where the app is mounted."""
        return self.place.root_path

    @property
    def client(self) -> tuple[str, int]:
        """The client's address where the key has it, else ``NOBODY``."""
        return self.place.client

    @property
    def tls(self) -> Any | None:
        """What the client's certificate says where the key has it."""
        return self.place.tls

    @property
    def path(self) -> str:
        """The target's path, root path included."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query, "" where it has none."""
        return self.target.partition("?")[2]

    @property
    def is_credentialed(self) -> bool:
        """Whether the request may say who asks."""
        _, _, _, _, client, tls = self.place
        return client != NOBODY or tls is not None or any(not is_harmless(name) for name, _ in self.fields)

    @property
    def principal(self) -> str:
        """Who asks: a digest of the credentials, the client and the certificate; "" where there are none.

        Equal in every process. Made from secrets, so not for logs.
        """
        if not self.is_credentialed:
            return ""
        credentials = [entry for entry in self.fields if not is_harmless(entry[0])]
        _, _, _, _, client, tls = self.place
        said = repr((credentials, client, tls)).encode()
        return blake2b(said, digest_size=12).hexdigest()


def request_key(
    scope: Mapping[str, Any],
    neutral: Neutral,
    *,
    extra: Collection[str] = (),
    target: str | None = None,
    headers: Fields = (),
) -> RequestKey:
    """The key of the GET that an ``http`` or ``websocket`` scope stands for.

    ``extra`` may name ``client`` and ``tls``; ``target``, in normal form, replaces the scope's own;
    ``headers`` replace fields of the same name. Raises ``Problem`` (400) for a target or Host that is
    not valid, or for two Hosts.
    """
    given: str = scope.get("scheme") or "http"
    scheme = _SCHEMES.get(given, given)
    server = _server(scope)
    fields: Fields = scope["headers"]
    authority = _authority(fields, server)
    if headers:
        fields = _replaced(fields, headers)
    return RequestKey(
        scheme=scheme,
        server=server,
        authority=authority,
        root_path=scope.get("root_path") or "",
        target=once(scope_target(scope)) if target is None else target,
        fields=neutral.select(fields, scheme, authority),
        client=_client(scope) if "client" in extra else NOBODY,
        tls=_certificate(scope) if "tls" in extra else None,
    )


def sibling(key: RequestKey, neutral: Neutral, target: str, headers: Fields = ()) -> RequestKey:
    """The key of a GET of ``target``, in normal form, by the client that ``key`` is of.

    ``headers`` replace fields of the same name.
    """
    fields = key.fields
    if headers:
        fields = neutral.select(_replaced(fields, headers), key.scheme, key.authority)
    scheme, server, authority, root_path, client, tls = key.place
    return RequestKey(scheme, server, authority, root_path, target, fields, client, tls)


def look_scope(
    key: RequestKey, *, state: Mapping[str, Any] | None, app: Any | None, reason: str
) -> dict[str, Any]:
    """The ASGI scope of a look, made from ``key`` alone.

    ``state`` is the lifespan state, copied; ``app`` the Starlette app, where it is one; ``reason``
    what ``scope["restive"]["look"]`` says: first, changed or recheck.
    """
    path, _, query = key.target.partition("?")
    host = ((b"host", key.authority.encode("latin-1")),) if key.authority else ()
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": key.scheme,
        "path": unquote(path) if "%" in path else path,
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": key.root_path,
        "headers": [*host, *key.fields],
        "client": key.client,
        "server": key.server,
        "extensions": {} if key.tls is None else {"tls": _tls(key.tls)},
        "restive": {"look": reason},
    }
    if state is not None:
        scope["state"] = dict(state)
    if app is not None:
        scope["app"] = app
    return scope


def _replaced(fields: Fields, headers: Fields) -> Fields:
    given = tuple((name.lower(), value) for name, value in headers)
    return (*without(fields, {name for name, _ in given}), *given)


def _server(scope: Mapping[str, Any]) -> tuple[str, int | None] | None:
    server = scope.get("server")
    return (server[0], server[1]) if server else None


def _client(scope: Mapping[str, Any]) -> tuple[str, int]:
    """The address alone: a port is of one connection."""
    client = scope.get("client")
    return (client[0], 0) if client else NOBODY


def _authority(fields: Fields, server: tuple[str, int | None] | None) -> str:
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1:
        raise Problem(400, "Invalid Host", "A request has one Host.")
    if not hosts or not hosts[0]:
        return _address(server)
    host = hosts[0].decode("latin-1")
    if len(host) > _MAX_AUTHORITY or not _AUTHORITY.fullmatch(host):
        raise Problem(400, "Invalid Host", "A Host is a name or an address, and a port at most.")
    return host.lower()


def _address(server: tuple[str, int | None] | None) -> str:
    if server is None or server[1] is None:  # no address, or the path of a Unix socket
        return ""
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    return f"{host}:{server[1]}"


def _certificate(scope: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None, str | None] | None:
    tls = (scope.get("extensions") or {}).get("tls")
    if tls is None:
        return None
    chain = tuple(tls.get("client_cert_chain") or ())
    return chain, tls.get("client_cert_name"), tls.get("client_cert_error")


def _tls(certificate: tuple[tuple[str, ...], str | None, str | None]) -> dict[str, Any]:
    """The ASGI TLS extension as far as it says who the client is."""
    chain, name, error = certificate
    return {
        "server_cert": None,
        "client_cert_chain": list(chain),
        "client_cert_name": name,
        "client_cert_error": error,
        "tls_version": None,
        "cipher_suite": None,
    }
