"""For tests of what is built with Restive, and of what is built for it."""

from __future__ import annotations

from .backend_suite import BACKEND_CHECKS, BackendBroken, check_backend, run_check

__all__ = ["BACKEND_CHECKS", "BackendBroken", "check_backend", "run_check"]
