"""The signature of a webhook, as https://www.standardwebhooks.com defines it. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

__all__ = ["secrets_of", "signed_fields"]

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret."""


def secrets_of(text: str) -> tuple[bytes, ...]:
    """The keys of one or several secrets between spaces. Raises ``ValueError``, which does not show them."""
    keys = tuple(_key(secret) for secret in text.split())
    if not keys:
        raise ValueError("There is no secret.")
    return keys


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        raise ValueError(f"A secret begins with {PREFIX}.")
    encoded = secret.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise ValueError(f"A secret is base64 after {PREFIX}.") from None
    if not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(f"A secret has {SHORTEST} to {LONGEST} bytes, not {len(key)}.")
    return key


def signed_fields(keys: Sequence[bytes], identity: str, now: float, body: bytes) -> dict[str, str]:
    """The three header fields of a message; one signature for each key."""
    moment = str(int(now))
    content = f"{identity}.{moment}.".encode() + body
    digests = (hmac.digest(key, content, hashlib.sha256) for key in keys)
    return {
        "webhook-id": identity,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }
