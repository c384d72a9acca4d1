"""The URL of a webhook: parsed once, strictly, so that what is judged is what is connected to.

Pure. ASCII only; no userinfo, no fragment, no host that looks like an address and is none (``127.1``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .addresses import Address, address_of

__all__ = ["Receiver", "parse_receiver"]

LONGEST = 2048
"""Characters of a URL."""

ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
URL = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?((?:/[^?]*)?(?:\?.*)?)", re.IGNORECASE
)
PORTS = {"http": 80, "https": 443}
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
LABEL = re.compile(r"[a-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a webhook goes."""

    scheme: str
    host: str
    """A name in lower case or an address, without brackets."""
    port: int
    target: str
    """Path and query."""

    @property
    def address(self) -> Address | None:
        """The host, where it is an address."""
        return address_of(self.host)

    @property
    def authority(self) -> str:
        """What the Host field says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """What a log may say: path and query can hold secrets."""
        return f"{self.scheme}://{self.authority}"


def parse_receiver(url: str) -> Receiver:
    """The receiver that ``url`` names. Raises ``ValueError`` that says what is wrong with it."""
    if len(url) > LONGEST:
        raise ValueError(f"It has more than {LONGEST} characters.")
    if not ALLOWED.fullmatch(url):
        raise ValueError("It is a URL of ASCII characters, without a fragment.")
    if "@" in re.split("[/?]", url.partition("://")[2])[0]:
        raise ValueError("It must not hold a user or a password.")
    found = URL.fullmatch(url)
    if found is None:
        raise ValueError("It is an absolute http or https URL.")
    scheme, host, port, target = found.groups()
    scheme = scheme.lower()
    number = int(port) if port else PORTS[scheme]
    if not 1 <= number <= 65535:
        raise ValueError("Its port is between 1 and 65535.")
    return Receiver(scheme, _host(host.lower()), number, target if target.startswith("/") else f"/{target}")


def _host(text: str) -> str:
    if text.startswith("["):
        host = text[1:-1]
        if address_of(host) is None:
            raise ValueError("Its host is no IPv6 address.")
        return host
    host = text.removesuffix(".")
    labels = host.split(".")
    if NUMBER.fullmatch(labels[-1]) and address_of(host) is None:
        raise ValueError("Its host looks like an IPv4 address and is none.")
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError("Its host is no name.")
    return host
