"""Sends one webhook: resolves the name, judges every address, and connects to the one that was judged.

Redirects are not followed, proxies of the environment are not used, and no connection is used twice: it
belongs to the name that it was made for. The body of the answer is thrown away.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...http.fields import Fields
from .addresses import Network, address_of, is_allowed
from .blocking import in_thread
from .receiver import Receiver

if TYPE_CHECKING:
    import httpx2

__all__ = ["Answer", "Refused", "Resolve", "Sender", "resolve"]

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host, as text."""

CONNECT, WHOLE = 5.0, 15.0
"""Seconds until a connection is there, and until the answer is."""

MOST_READ = 64 * 1024
"""Bytes of an answer's body that are taken before the connection is closed."""

FIXED = {
    "content-type": "application/json",
    "user-agent": "Restive-Webhooks",
    "accept-encoding": "identity",
    "connection": "close",
}


class Refused(Exception):
    """The name leads to an address that webhooks must not reach."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said."""

    status: int
    fields: Fields


def resolve(host: str, port: int) -> list[str]:
    """The addresses of ``host``, each once. Blocks; raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Sender:
    """Sends webhooks to addresses that are public, or in one of ``networks``."""

    def __init__(self, networks: Sequence[Network], resolve: Resolve = resolve) -> None:
        self._networks, self._resolve = networks, resolve
        self._tls: ssl.SSLContext | None = None

    async def post(self, receiver: Receiver, fields: Mapping[str, str], body: bytes) -> Answer:
        """The answer, whatever its status.

        Raises ``Refused``; ``OSError`` where the name cannot be resolved, ``TimeoutError`` where there is no
        answer in time, ``httpx2.HTTPError`` for what else goes wrong on the way.
        """
        import httpx2

        until = asyncio.get_running_loop().time() + WHOLE
        async with asyncio.timeout_at(until):
            *others, last = await self._addresses(receiver)
        request = _request(receiver, fields, body)
        for address in others:
            try:
                return await self._exchange(request, _pinned(receiver, address), until)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._exchange(request, _pinned(receiver, last), until)

    async def _addresses(self, receiver: Receiver) -> Sequence[str]:
        """Where to connect to, at least one. A single address that is not allowed refuses them all."""
        if receiver.address is not None:
            found: Sequence[str] = [receiver.host]
        else:
            found = await in_thread(self._resolve, receiver.host, receiver.port)
        if not found:
            raise OSError("The name has no address.")
        for text in found:
            address = address_of(text)
            if address is None or not is_allowed(address, self._networks):
                raise Refused(f"It leads to {text}, which is no public address.")
        return found

    async def _exchange(self, request: httpx2.Request, url: httpx2.URL, until: float) -> Answer:
        import httpx2

        request.url = url
        transport = httpx2.AsyncHTTPTransport(verify=self._context(), trust_env=False)
        async with transport:  # not a client: that one would write the URL into the log
            async with asyncio.timeout_at(until):
                response = await transport.handle_async_request(request)
            async with aclosing(response):
                await _discard(response)
            return Answer(response.status_code, tuple((n.lower(), v) for n, v in response.headers.raw))

    def _context(self) -> ssl.SSLContext:
        import httpx2

        if self._tls is None:
            self._tls = httpx2.create_ssl_context()
        return self._tls


def _pinned(receiver: Receiver, address: str) -> httpx2.URL:
    """The URL with the address in place of the name."""
    import httpx2

    return httpx2.URL(
        scheme=receiver.scheme, host=address, port=receiver.port, raw_path=receiver.target.encode()
    )


def _request(receiver: Receiver, fields: Mapping[str, str], body: bytes) -> httpx2.Request:
    """The request as the name's own server expects it: Host and SNI are the name's."""
    import httpx2

    return httpx2.Request(
        "POST",
        receiver.origin,
        headers={"host": receiver.authority, **FIXED, **fields},
        content=body,
        extensions={
            "timeout": {"connect": CONNECT, "read": WHOLE, "write": WHOLE, "pool": WHOLE},
            "sni_hostname": receiver.host,
        },
    )


async def _discard(response: httpx2.Response) -> None:
    """Take a little of the body, for receivers that dislike to be cut off; the status is what counts."""
    import httpx2

    taken = 0
    try:
        async with asyncio.timeout(1.0):
            async for chunk in response.aiter_raw():
                taken += len(chunk)
                if taken > MOST_READ:
                    return
    except (TimeoutError, httpx2.HTTPError):
        return
