"""The backend ``postgresql:``: any number of machines share one database."""

from __future__ import annotations

from .backend import PostgresBackend

__all__ = ["PostgresBackend"]
