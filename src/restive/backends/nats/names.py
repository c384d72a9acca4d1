"""Subjects and stream names: any text, encoded so that nothing in it can mean anything to NATS.

A name becomes at most ``PARTS`` tokens, parted at its slashes, so that the server can list what lies below
a path. A byte that is no ASCII letter, digit, hyphen or underscore becomes ``=`` and two hex digits, an
empty part ``=``.
"""

from __future__ import annotations

import re
from hashlib import sha256

__all__ = ["below", "name_of", "stream_name", "subject_root", "token", "tokens"]

PARTS = 4
_LONGEST = 120
_PLAIN = re.compile(rb"[^0-9A-Za-z_-]")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


def token(text: str) -> str:
    """``text`` as one token of a subject."""
    return _PLAIN.sub(lambda found: b"=%02X" % found[0][0], text.encode()).decode() or "="


def tokens(name: str) -> str:
    """A name as the end of a subject."""
    return ".".join(map(token, name.split("/", PARTS - 1)))


def name_of(encoded: str) -> str:
    """The name that ``tokens`` has encoded. Raises ``ValueError`` for what it has not."""
    name = "/".join(map(_text, encoded.split(".")))
    if tokens(name) != encoded:
        raise ValueError(f"{encoded!r} is no name.")
    return name


def _text(part: str) -> str:
    if part == "=":
        return ""
    parts = _ESCAPED.split(part)
    plain = [text.encode() if n % 2 == 0 else bytes.fromhex(text) for n, text in enumerate(parts)]
    return b"".join(plain).decode()


def below(prefix: str) -> str:
    """The end of a filter that matches at least every name that starts with ``prefix``."""
    whole = prefix.split("/", PARTS - 1)[:-1]
    return ".".join([*map(token, whole), ">"])


def subject_root(app: str) -> str:
    """What all subjects of an app start with."""
    return f"restive.{_short(app)}"


def stream_name(app: str, what: str = "") -> str:
    """The name of the app's JetStream stream; ``what`` names a further one, and is no hex number."""
    return f"restive-{_short(app)}" + (f"={what}" if what else "")


def _short(app: str) -> str:
    """The app's name as a token that a stream's name, and so a folder of the server, can hold."""
    encoded = token(app)
    return encoded if len(encoded) <= _LONGEST else "=" + sha256(app.encode()).hexdigest()[:40]
