"""Every scenario holds on plain ASGI and where connections are taken over from uvicorn."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["plain", "fast"])
def fast(request: pytest.FixtureRequest) -> bool:
    """Whether connections can be taken over from uvicorn."""
    return bool(request.param == "fast")
