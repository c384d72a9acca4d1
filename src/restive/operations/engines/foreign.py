"""Recognises what other libraries made, and loads none of them: who gives such an object has loaded them."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["celery_app", "celery_task", "is_dask_client", "is_of_celery"]


def celery_app(given: Any) -> Any:
    """The Celery app that this is, or stands for; else None."""
    celery = sys.modules.get("celery")
    return _itself(given) if celery is not None and isinstance(given, celery.Celery) else None


def celery_task(given: Any) -> Any:
    """The task of Celery that this is, or stands for; else None."""
    celery = sys.modules.get("celery")
    return _itself(given) if celery is not None and isinstance(given, celery.Task) else None


def is_of_celery(given: Any) -> bool:
    """Whether it is an app or a task of Celery."""
    return celery_app(given) is not None or celery_task(given) is not None


def is_dask_client(given: Any) -> bool:
    """Whether it is a ``distributed.Client``."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(given, distributed.Client)


def _itself(given: Any) -> Any:
    """Behind Celery's proxies, which make it when it is first needed."""
    current = getattr(type(given), "_get_current_object", None)
    return given if current is None else current(given)
