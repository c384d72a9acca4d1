"""The table in docs/settings.md and the code say the same."""

from __future__ import annotations

import re

from docs_pages import ROOT

from restive.settings import table

ROW = re.compile(r"^\| `(\w+)` \| `(.+?)` \| (.+) \|$", re.MULTILINE)


def test_settings_are_documented_with_their_defaults() -> None:
    """Every setting is in the table, once, with its default and its line; and nothing else is."""
    shown = ROW.findall((ROOT / "docs" / "settings.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(table())
