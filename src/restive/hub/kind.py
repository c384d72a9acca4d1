"""Why watches share one rendering."""

from __future__ import annotations

from enum import Enum

__all__ = ["Kind"]


class Kind(Enum):
    """Why the members of a variant may share."""

    REQUEST = "their requests are the same"
    SHARED = "a shared cache could reuse the response without asking"
    AUDIENCE = "the app says so and their own looks agreed"
    SOLO = "they may not: there is one"
