"""What a ``postgresql:`` URL says: where the server is, and Restive's own options ``schema`` and ``listen``.

All else is libpq's: several hosts, TLS, timeouts. No message repeats a URL, which may hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from restive.errors import SettingError

__all__ = ["POLL", "SCHEMA", "Location", "check_schema", "parse"]

SCHEMA = "restive"
POLL = "poll"
"""As ``listen=``: ask for announcements instead of being notified of them."""

_FORM = "postgresql://user:password@host:5432/database"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_DEFAULTS: dict[str, str] = {
    "application_name": "restive",
    "client_encoding": "utf8",
    "connect_timeout": "2",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "target_session_attrs": "read-write",
    "tcp_user_timeout": "5000",
}
"""A dead server is noticed soon, and a standby is none to write to."""

Parameters = dict[str, str]


@dataclass(frozen=True, slots=True)
class Location:
    """A server and a schema on it. ``repr`` and ``str`` show no password."""

    parameters: Parameters = field(repr=False)
    listening: Parameters | None = field(repr=False)
    """Where LISTEN works; None: nowhere."""
    schema: str = SCHEMA

    def __str__(self) -> str:
        host, port = self.parameters.get("host", "localhost"), self.parameters.get("port", "5432")
        database = self.parameters.get("dbname") or self.parameters.get("user") or ""
        return f"PostgreSQL at {host}:{port}/{database}"

    def redact(self, text: str) -> str:
        """``text`` without the passwords of this URL."""
        for parameters in (self.parameters, self.listening or {}):
            for name in ("password", "sslpassword"):
                if parameters.get(name):
                    text = text.replace(parameters[name], "***")
        return text


def check_schema(name: str) -> str:
    """The name of a schema as it is. Raises SettingError for one that would have to be quoted."""
    if not _NAME.fullmatch(name):
        raise SettingError("schema= is the name of a schema: small letters, digits and _, at most 63.")
    return name


def parse(url: str) -> Location:
    """The location that ``url`` names. Raises SettingError for what can be seen to be wrong in it."""
    bare, own = _split(url)
    parameters = _parameters(bare)
    listen = own.get("listen", "")
    if not listen:
        listening: Parameters | None = parameters
    elif listen == POLL:
        listening = None
    else:
        bare, nested = _split(listen)
        if nested:
            raise SettingError("The URL in listen= takes no listen= or schema= of its own.")
        listening = _parameters(bare)
    return Location(parameters, listening, check_schema(own.get("schema", SCHEMA)))


def _split(url: str) -> tuple[str, dict[str, str]]:
    """The URL without Restive's own options, and those."""
    if not url.lower().startswith(("postgresql://", "postgres://")):
        raise SettingError(f"A PostgreSQL URL is {_FORM}.")
    netloc, path, query, fragment = _parts(url)
    if fragment:
        raise SettingError("A PostgreSQL URL has no #; in a password write it as %23.")
    kept: list[str] = []
    own: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name in {"schema", "listen"}:
            own[name] = unquote(value)
        else:
            kept.append(pair)
    return f"postgresql://{netloc}{path}?{'&'.join(kept)}", own


def _parts(url: str) -> tuple[str, str, str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingError(f"This is no URL of the form {_FORM}.") from None
    return parts.netloc, parts.path, parts.query, parts.fragment


def _parameters(url: str) -> Parameters:
    """What libpq reads from the URL, and what Restive sets where it says nothing."""
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in known and name != "ssl":
            raise SettingError(
                f"A PostgreSQL URL has no option {name!r}; libpq's and schema= and listen= are."
            )
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:  # its text may hold the password
        raise SettingError(
            f"The PostgreSQL URL cannot be read. It has the form {_FORM}, where each of / ? # @ : % in "
            "a name or a password is percent-encoded."
        ) from None
    return _DEFAULTS | {name: str(value) for name, value in found.items()}
