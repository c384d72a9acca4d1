"""Links between pages lead somewhere, and every public name is explained."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from docs_pages import HEADING, LINK, PAGES, ROOT, blocks, name, prose, slug

import restive

DOCS = [page for page in PAGES if page.parent.name == "docs"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    """The target of each link in the repository exists, and so does its anchor."""
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{name(page)}: {link}"
        assert ROOT in target.parents, f"{name(page)}: {link}"
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(prose(target))}, (
                f"{name(page)}: {link}"
            )


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_every_page_is_in_the_navigation(page: Path) -> None:
    """A page that nothing leads to is not read."""
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    assert page.name in {path for entry in project["nav"] for path in entry.values()}


@pytest.mark.parametrize("public", restive.__all__)
def test_public_names_are_explained(public: str) -> None:
    """Each name that ``restive`` exports is on the page of public names."""
    assert f"`{public}`" in (ROOT / "docs" / "python.md").read_text(encoding="utf-8") or any(
        f"`{public}(" in prose(page) for page in DOCS
    ), public


def test_files_of_a_page_are_named_once() -> None:
    """A page that writes a file twice would show two apps by one name."""
    for page in PAGES:
        written = [block.argument for block in blocks(page) if block.directive == "file"]
        assert len(written) == len(set(written)), name(page)
