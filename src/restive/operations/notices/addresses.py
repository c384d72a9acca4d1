"""Which addresses a webhook may reach: public ones, and those of the networks that the app names.

Pure. What is not public follows IANA's registries of special-purpose addresses (RFC 6890), not the
interpreter's version of them. An IPv6 address that only carries an IPv4 address is judged as that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["Address", "Network", "address_of", "is_allowed", "is_public", "networks_of"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; the metadata of one cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # public by its number, but the metadata of one cloud
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; the metadata of one cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
UNICAST_6 = IPv6Network("2000::/3")
"""All that is routed globally lies here: unique local, link-local, multicast and loopback do not."""

NOT_PUBLIC_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments; Teredo
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")


def address_of(text: str) -> Address | None:
    """The address that ``text`` is, in its usual form; None for anything else."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks written as CIDR. Raises ``ValueError``, also where bits of a host are set."""
    return tuple(ip_network(text) for text in texts)


def is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether a webhook may be sent to ``address``."""
    if _is_scoped(address):
        return False
    carried = _carried(address)
    return is_public(address) or any(form in network for network in networks for form in (address, carried))


def is_public(address: Address) -> bool:
    """Whether it is routed globally, and leads to nothing special."""
    carried = _carried(address)
    if isinstance(carried, IPv4Address):
        return not any(carried in network for network in NOT_PUBLIC_4)
    if _is_scoped(carried) or carried not in UNICAST_6:
        return False
    return not any(carried in network for network in NOT_PUBLIC_6)


def _is_scoped(address: Address) -> bool:
    """Whether it names an interface of this machine (``fe80::1%eth0``)."""
    return isinstance(address, IPv6Address) and address.scope_id is not None


def _carried(address: Address) -> Address:
    """The IPv4 address that ``address`` stands for: mapped, compatible, 6to4 or NAT64 (RFC 6052)."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in NAT64 or address in COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
