"""The backend ``nats:``: everything in one JetStream stream of a NATS server, announcements in a second."""

from __future__ import annotations

from .backend import NatsBackend

__all__ = ["NatsBackend"]
