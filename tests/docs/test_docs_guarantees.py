"""Every line of docs/guarantees.md names tests, and each of them exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from docs_pages import ROOT

TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
CELLS = re.compile(r"(?<!\\)\|")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ABOVE = 2
"""Lines of the table that are its heading."""


def rows() -> list[list[str]]:
    """The cells of each line."""
    found = ROW.findall(TEXT)
    return [[cell.strip() for cell in CELLS.split(row)] for row in found[ABOVE:]]


@cache
def functions_of(file: str) -> frozenset[str]:
    """The functions that a file defines."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def test_there_is_one_table_and_every_line_says_event_promise_and_test() -> None:
    assert TEXT.count("\n|---|---|---|\n") == 1
    assert len(rows()) > 20
    for row in rows():
        assert len(row) == 3, row
        event, holds, shown = row
        assert event, row
        assert holds, row
        assert NAMED.search(shown), row
        assert NAMED.sub("", shown).strip(" ,") == "", row


def test_no_line_is_there_twice() -> None:
    said = [(event, holds) for event, holds, _ in rows()]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("named", sorted({match[0] for match in NAMED.finditer(TEXT)}))
def test_each_named_test_exists(named: str) -> None:
    file, test = NAMED.fullmatch(named).groups()
    assert test.startswith("test_")
    assert (ROOT / file).is_file(), file
    assert test in functions_of(file), f"{file} defines no {test}"
