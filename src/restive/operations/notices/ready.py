"""What has to be right before webhooks are sent: the settings where one is declared, and each URL."""

from __future__ import annotations

import importlib.util

from ...errors import Problem, SettingError
from ...settings import Settings
from .addresses import is_allowed, networks_of
from .receiver import Receiver, parse_receiver
from .signature import secrets_of

__all__ = ["check_ready", "check_url"]

MAKE_ONE = "echo whsec_$(openssl rand -base64 32)"
"""Prints a secret."""


def check_ready(settings: Settings, webhook: object = None) -> None:
    """Raise ``SettingError`` where webhooks cannot be sent with these settings, or to this declared URL."""
    if importlib.util.find_spec("httpx2") is None:
        raise SettingError("webhook= sends by httpx2: pip install 'restive[client]'.")
    if not settings.webhook_secret:
        raise SettingError(f"webhook= needs the setting webhook_secret=, for instance of: {MAKE_ONE}")
    try:
        secrets_of(settings.webhook_secret)
    except ValueError as error:
        raise SettingError(f"webhook_secret= is not right. {error} Make one: {MAKE_ONE}") from None
    try:
        networks_of(settings.webhook_networks)
    except ValueError as error:
        raise SettingError(f"webhook_networks= takes networks like 10.1.0.0/16: {error}.") from None
    if isinstance(webhook, str):
        try:
            _judged(webhook, settings)
        except ValueError as error:
            raise SettingError(f"webhook={webhook!r} cannot be sent to. {error}") from None


def check_url(url: str, settings: Settings) -> None:
    """Raise ``Problem`` (422) where a webhook cannot go to ``url``, whatever its name resolves to."""
    try:
        _judged(url, settings)
    except ValueError as error:
        raise Problem(422, "The webhook's URL cannot be used", str(error)) from None


def _judged(url: str, settings: Settings) -> Receiver:
    receiver = parse_receiver(url)
    address = receiver.address
    if address is not None and not is_allowed(address, networks_of(settings.webhook_networks)):
        raise ValueError(f"{address} is no public address.")
    return receiver
