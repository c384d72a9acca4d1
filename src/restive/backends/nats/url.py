"""What a nats: URL says: ``nats://user:password@host:4222,host2/?replicas=3``. Raises SettingError only.

Its text, as in messages and logs, shows no user, password or token.
"""

from __future__ import annotations

import importlib.util
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from restive.errors import SettingError

__all__ = ["NatsUrl"]

_OPTIONS = ("creds", "replicas", "storage", "tls_ca", "tls_cert", "tls_key")
_FORM = "nats://user:password@host:4222"


@dataclass(frozen=True, slots=True)
class NatsUrl:
    """A URL, taken apart. ``replicas`` and ``storage`` are for streams that are made."""

    servers: tuple[str, ...]
    secure: bool
    user: str | None
    password: str | None
    creds: str | None
    replicas: int
    storage: str
    tls_ca: str | None
    tls_cert: str | None
    tls_key: str | None

    @classmethod
    def parse(cls, url: str) -> NatsUrl:
        """Take a URL apart; nothing is opened. Raises ``SettingError``, which shows no secret."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise SettingError(f"This is no NATS URL; write {_FORM}.") from None
        if parts.scheme not in {"nats", "tls"} or parts.path not in {"", "/"} or parts.fragment:
            raise SettingError(f"A NATS URL is {_FORM}, or tls://…; an @, / or # in a password is %-encoded.")
        account, _, hosts = parts.netloc.rpartition("@")
        user, colon, password = account.partition(":")
        given = _options(parts.query)
        return cls(
            servers=tuple(_server(host) for host in hosts.split(",")),
            secure=parts.scheme == "tls" or any(name.startswith("tls_") for name in given),
            user=unquote(user) if account else None,
            password=unquote(password) if colon else None,
            creds=_creds(given.get("creds")),
            replicas=_replicas(given.get("replicas", "1")),
            storage=_storage(given.get("storage", "file")),
            tls_ca=_file(given, "tls_ca"),
            tls_cert=_file(given, "tls_cert"),
            tls_key=_file(given, "tls_key"),
        )

    def __str__(self) -> str:
        return f"NATS at {', '.join(self.servers)}"

    def __repr__(self) -> str:
        return f"<NatsUrl {', '.join(self.servers)}>"

    def options(self) -> dict[str, Any]:
        """How nats-py is told."""
        scheme = "tls" if self.secure else "nats"
        options: dict[str, Any] = {"servers": [f"{scheme}://{server}" for server in self.servers]}
        if self.password is not None:
            options |= {"user": self.user, "password": self.password}
        elif self.user is not None:
            options["token"] = self.user
        if self.creds is not None:
            options["user_credentials"] = self.creds
        if self.secure:
            options["tls"] = self._tls()
        return options

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_cert is not None:
                context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise SettingError(
                f"The certificates that the NATS URL names cannot be used: {error.strerror or error}."
            ) from None
        return context


def _options(query: str) -> dict[str, str]:
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if name not in _OPTIONS:
            raise SettingError(f"A NATS URL has no option {name!r}; there are {', '.join(_OPTIONS)}.")
    if "tls_key" in given and "tls_cert" not in given:
        raise SettingError("tls_key= in a NATS URL needs tls_cert=.")
    return given


def _server(host: str) -> str:
    try:
        parts = urlsplit(f"nats://{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port = None, None
    if not name or "@" in host:
        raise SettingError(f"A NATS URL names its servers as host:port, parted by commas: {_FORM}.")
    return f"[{name}]:{port or 4222}" if ":" in name else f"{name}:{port or 4222}"


def _replicas(text: str) -> int:
    if text not in {"1", "3", "5"}:
        raise SettingError(f"replicas= in a NATS URL is 1, 3 or 5, not {text!r}.")
    return int(text)


def _storage(text: str) -> str:
    if text not in {"file", "memory"}:
        raise SettingError(f"storage= in a NATS URL is file or memory, not {text!r}.")
    return text


def _creds(path: str | None) -> str | None:
    if path is None:
        return None
    if importlib.util.find_spec("nkeys") is None:
        raise SettingError("creds= in a NATS URL needs the package nkeys: pip install nkeys.")
    return _file({"creds": path}, "creds")


def _file(given: dict[str, str], name: str) -> str | None:
    path = given.get(name)
    if path is not None and not Path(path).is_file():
        raise SettingError(f"{name}= in the NATS URL names no file: {path!r}.")
    return path
