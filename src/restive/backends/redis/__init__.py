"""The backend ``redis://`` and ``rediss://``: Redis 6.2 or newer, Valkey, and what speaks as they do."""

from __future__ import annotations

from .backend import RedisBackend

__all__ = ["RedisBackend"]
