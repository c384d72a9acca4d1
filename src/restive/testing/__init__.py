"""For tests of what is built with Restive, and of what is built for it."""

from __future__ import annotations

from .backend_suite import BACKEND_CHECKS, BackendBroken, check_backend, run_check
from .engine_checks import Engine
from .engine_suite import ENGINE_CHECKS, check_engine, run_engine_check

__all__ = [
    "BACKEND_CHECKS",
    "ENGINE_CHECKS",
    "BackendBroken",
    "Engine",
    "check_backend",
    "check_engine",
    "run_check",
    "run_engine_check",
]
