"""The states of the table's resources: what a version looks like, and whether a state is one."""

from __future__ import annotations

import hashlib
from typing import Any


def document(name: str, version: int) -> dict[str, Any]:
    """The state of one version. The seal's length differs, so that a mixed or cut state is known."""
    digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    return {"version": version, "name": name, "seal": digest * (1 + version % 7)}


def is_sound(name: str, data: Any) -> bool:
    """Whether it is the whole state of some version."""
    version = data.get("version") if isinstance(data, dict) else None
    return isinstance(version, int) and data == document(name, version)
