"""The demo's front page: one static HTML file in which the server's own address is filled in."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files

__all__ = ["render"]


@cache
def _template() -> str:
    return files(__package__).joinpath("index.html").read_text(encoding="utf-8")


def render(base: str) -> str:
    """The page for a server that the reader knows as ``base`` (scheme and authority, no slash behind)."""
    return _template().replace("{base}", escape(base))
