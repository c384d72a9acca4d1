"""URLs of webhooks: what is taken and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hook_receivers import LOOPBACK, SECRET
from hypothesis import given
from hypothesis import strategies as st

from restive.errors import Problem, SettingError
from restive.operations.notices import check_ready, check_url
from restive.operations.notices.receiver import parse_receiver
from restive.settings import Settings


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://hooks.example/a?b=c", "hooks.example", "/a?b=c"),
        ("HTTPS://Hooks.Example:443", "hooks.example", "/"),
        ("http://hooks.example:8080?x", "hooks.example:8080", "/?x"),
        ("https://hooks.example./", "hooks.example", "/"),
        ("https://xn--mnchen-3ya.example/%C3%BC", "xn--mnchen-3ya.example", "/%C3%BC"),
        ("http://8.8.8.8/", "8.8.8.8", "/"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443", "/"),
        ("https://hooks.example/@me?to=http://x/", "hooks.example", "/@me?to=http://x/"),
    ],
)
def test_urls_are_taken_apart(url: str, authority: str, target: str) -> None:
    receiver = parse_receiver(url)
    assert (receiver.authority, receiver.target) == (authority, target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "//hooks.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://hooks.example/",
        "https://",
        "https:///path",
        "https://user@hooks.example/",
        "https://user:password@hooks.example/",
        "https://hooks.example@127.0.0.1/",
        "https://127.0.0.1\\@hooks.example/",
        "https://hooks.example/#fragment",
        "https://hooks.example/ x",
        "https://hooks.example/\r\nhost: evil",
        "https://hooks.example\x00.evil/",
        "https://münchen.example/",
        "https://hooks..example/",
        "https://-/" + "a" * 2048,
        "https://" + "a" * 64 + ".example/",
        "https://hooks.example:0/",
        "https://hooks.example:65536/",
        "https://hooks.example:http/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1.2/",
        "https://1.2.3.0x04/",
        "https://[::1/",
        "https://[::1%25eth0]/",
        "https://[hooks.example]/",
        "https://%6c%6f/",
    ],
)
def test_nonsense_is_refused(url: str) -> None:
    with pytest.raises(Problem) as caught:
        check_url(url, Settings())
    assert caught.value.status == 422
    assert caught.value.detail


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        receiver = parse_receiver(f"https://{text}")
    except ValueError:
        return
    assert receiver.target.startswith("/")
    assert receiver.host.isascii()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://0.0.0.0/",
    ],
)
def test_addresses_that_are_not_public_are_refused_at_once(url: str) -> None:
    with pytest.raises(Problem, match="no public address"):
        check_url(url, Settings())


def test_a_network_can_be_opened() -> None:
    check_url("http://127.0.0.1:8000/hook", Settings(webhook_networks=["127.0.0.0/8"]))
    check_url("https://hooks.example/", Settings())


def test_a_problem_does_not_repeat_a_password() -> None:
    with pytest.raises(Problem) as caught:
        check_url("https://ann:planted@hooks.example/", Settings())
    assert "planted" not in str(caught.value.document())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "needs the setting webhook_secret="),
        ({"webhook_secret": "planted"}, "begins with whsec_"),
        ({"webhook_secret": "whsec_planted!"}, "is base64"),
        ({"webhook_secret": "whsec_cGxhbnRlZA=="}, "24 to 64 bytes"),
        ({"webhook_secret": SECRET, "webhook_networks": ["10.0.0.1/8"]}, "webhook_networks="),
    ],
)
def test_settings_that_cannot_work_are_refused_when_it_is_declared(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        check_ready(Settings(**settings))
    assert "planted" not in str(caught.value)


def test_right_settings_are_taken() -> None:
    check_ready(Settings(webhook_secret=SECRET))
    check_ready(Settings(webhook_secret=f"{SECRET} {SECRET}"), webhook="https://hooks.example/")
    check_ready(Settings(**LOOPBACK), webhook="http://127.0.0.1/")


def test_a_declared_url_is_judged_like_any_other() -> None:
    with pytest.raises(SettingError, match="no public address"):
        check_ready(Settings(webhook_secret=SECRET), webhook="http://127.0.0.1/")
