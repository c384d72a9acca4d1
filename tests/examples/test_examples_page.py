"""docs/examples.md shows the examples as they are; what its commands print is held by tests/docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.docs_pages import blocks

ROOT = Path(__file__).parents[2]
SHOWN = {block.argument: block.text for block in blocks(ROOT / "docs" / "examples.md") if block.argument}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_the_page_shows_the_file(name):
    assert SHOWN[name] == (ROOT / "examples" / name).read_text(encoding="utf-8")


def test_the_page_shows_the_examples_of_operations():
    assert set(SHOWN) == {"thumbnails.py", "parquet.py", "report.py", "progress_bars.py"}
