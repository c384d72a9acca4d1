"""The Lua scripts: every batch, page and scan is one of them, and so atomic.

A batch is judged first and written after that, so that a Conflict leaves nothing behind. All keys are
declared. Numbers that order things are the server's microseconds, or one more than the last where its
clock stands or goes back: they grow on after a store was wiped or rolled back.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

__all__ = ["BATCH", "PAGE", "SCAN", "Script"]


class Script:
    """A script's text and the digest by which the server knows it."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(name).read_bytes()
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


BATCH = Script("batch.lua")
PAGE = Script("page.lua")
SCAN = Script("scan.lua")
