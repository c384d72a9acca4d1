"""Which addresses webhooks may reach."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.operations.notices.addresses import address_of, is_allowed, is_public, networks_of

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e"]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.0.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.31.0.1",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "3fff::1",
    "5f00::1",
    "64:ff9b:1::1",
    "2606:4700::1111%eth0",
]
CARRIERS = ["::ffff:{}", "::{}", "64:ff9b::{}", "{six}"]


def carried(form: str, address: str) -> str:
    """``address`` inside an IPv6 address."""
    high, low = divmod(int(ipaddress.IPv4Address(address)), 65536)
    return form.format(address, six=f"2002:{high:x}:{low:x}::1")


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    address = address_of(text)
    assert address is not None
    assert is_allowed(address, ())


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_others_are_not(text: str) -> None:
    address = address_of(text)
    assert address is not None
    assert not is_allowed(address, ())


@pytest.mark.parametrize("form", CARRIERS)
@pytest.mark.parametrize("text", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "168.63.129.16"])
def test_an_address_in_an_address_is_judged_as_itself(form: str, text: str) -> None:
    address = address_of(carried(form, text))
    assert address is not None
    assert not is_allowed(address, ())


@pytest.mark.parametrize("form", CARRIERS)
def test_a_public_address_may_be_carried(form: str) -> None:
    """A host with IPv6 only reaches IPv4 by NAT64."""
    address = address_of(carried(form, "8.8.8.8"))
    assert address is not None
    assert is_allowed(address, ())


def test_networks_that_are_named_are_allowed_and_no_others() -> None:
    networks = networks_of(["10.1.0.0/16", "fd12:3456::/32"])
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd12:3456::9"):
        address = address_of(text)
        assert address is not None
        assert is_allowed(address, networks), text
    for text in ("10.2.0.1", "::ffff:10.2.0.1", "fd12:3457::9", "127.0.0.1", "fe80::1%eth0"):
        address = address_of(text)
        assert address is not None
        assert not is_allowed(address, networks), text


def test_an_interface_is_no_way_around_a_network() -> None:
    address = address_of("fe80::1%eth0")
    assert address is not None
    assert not is_allowed(address, networks_of(["fe80::/10"]))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "internal", ""])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        networks_of([text])


@given(st.ip_addresses(v=4))
def test_nothing_is_public_that_python_does_not_call_global_v4(address: ipaddress.IPv4Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@given(st.ip_addresses(v=6))
def test_nothing_is_public_that_python_does_not_call_global_v6(address: ipaddress.IPv6Address) -> None:
    if is_public(address) and address.ipv4_mapped is None and address.sixtofour is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(network="127.0.0.0/8") | st.ip_addresses(network="169.254.0.0/16"))
def test_no_carrier_reaches_this_machine_or_the_metadata(address: ipaddress.IPv4Address) -> None:
    for form in CARRIERS:
        found = address_of(carried(form, str(address)))
        assert found is not None
        assert not is_public(found)
