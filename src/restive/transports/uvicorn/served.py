"""Finds the ``Restive`` of the app that a server has loaded, through the layers round it.

By its shape, since transports know nothing of ``restive.app``. What is mounted inside another app is not
found: that server's settings are the defaults.
"""

from __future__ import annotations

from typing import Protocol, cast

from ...settings import Settings

__all__ = ["Served", "served"]

MOST_LAYERS = 32
"""Middlewares that are looked through."""


class Served(Protocol):
    """A ``Restive``, as far as transports know it."""

    @property
    def settings(self) -> Settings:
        """Its settings."""
        ...


def served(app: object) -> Served | None:
    """The ``Restive`` that ``app`` is, or that made it live; None where neither is so.

    ``app`` is what uvicorn calls: perhaps in its own middlewares, which keep what they wrap as ``app``.
    """
    for _ in range(MOST_LAYERS):
        for found in (getattr(app, "restive", None), app):
            if isinstance(getattr(found, "settings", None), Settings):
                return cast("Served", found)
        app = getattr(app, "app", None)
    return None
