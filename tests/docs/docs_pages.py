"""The pages of the documentation: their code blocks, links and headings.

An HTML comment above a code block says what the tests do with it:

    <!-- file: shop.py -->   it is this file, in the folder where the page's commands run
    <!-- run -->             Python: run it
    <!-- output -->          what the block before printed
    <!-- waits -->           console: the command waits for something that comes later on the page
    <!-- continues -->       what the command that was left running printed meanwhile
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^( *)```(\w*).*?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"<!-- ([a-z]+)(?:: (.+?))? -->\s*\Z")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block."""

    page: str
    line: int
    language: str
    text: str
    directive: str
    argument: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line after ``$``, and what the page shows below it."""

    line: int
    text: str
    shown: str


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for fence in FENCE.finditer(text):
        before = text[: fence.start()]
        found = DIRECTIVE.search(before)
        directive, argument = (found[1], found[2] or "") if found else ("", "")
        yield Block(name(page), before.count("\n") + 1, fence[2], fence[3], directive, argument)


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block; one that ends with a backslash goes on in the next line."""
    lines = block.text.split("\n")[:-1]
    at = 0
    while at < len(lines):
        assert lines[at].startswith("$ "), f"{block}: a console block begins with a command"
        start, command = at, lines[at][2:]
        while command.endswith("\\"):
            at += 1
            command = command[:-1].rstrip() + " " + lines[at].strip()
        end = at + 1
        while end < len(lines) and not lines[end].startswith("$ "):
            end += 1
        yield Command(block.line + 1 + start, command, "\n".join(lines[at + 1 : end]))
        at = end


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and Zensical make it."""
    plain = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).lower()
    return re.sub(r" +", "-", re.sub(r"[^\w\- ]", "", plain).strip())
