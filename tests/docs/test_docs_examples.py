"""What the documentation shows is true: its files are served, its commands and programs run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_pages import PAGES, Block, Command, blocks, commands, name
from docs_session import Session, is_server, normal, streams

CONFIGURATION = {"nginx", "ini", "toml", "yaml", "dockerfile"}
NOT_RUN = {"sh", "text", "json", "http", "js", "ts", "tsx", "html", ""} | CONFIGURATION
LIVE_PAGES = [page for page in PAGES if any(b.language == "console" for b in blocks(page))]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    yield session
    session.stop()


@pytest.mark.parametrize("page", LIVE_PAGES, ids=name)
def test_commands_and_programs_print_what_the_page_shows(page: Path, session: Session) -> None:
    """Each page is followed from top to bottom, as its reader would."""
    printed = ""
    for block in blocks(page):
        if block.directive == "file":
            (session.folder / block.argument).write_text(block.text, encoding="utf-8")
        elif block.directive == "run":
            printed = session.python(block.text)
        elif block.directive == "output":
            assert normal(session.shown(printed)) == normal(block.text), str(block)
        elif block.directive == "continues":
            _continues(session, block)
        elif block.language == "console":
            for command in commands(block):
                _run(session, block, command)


def _run(session: Session, block: Block, command: Command) -> None:
    where = f"{block.page}:{command.line}: {command.text}"
    if is_server(command.text):
        session.serve(command.text)
        return
    running = session.start(command.text)
    if block.directive == "waits" or streams(command.text):
        session.waiting = running
    if block.directive == "waits":
        return
    shown = session.actual(command.shown)
    output = session.shown(running.until(shown) if streams(command.text) else running.to_the_end())
    session.learn(command.shown, output)
    assert normal(output) == normal(command.shown), where


def _continues(session: Session, block: Block) -> None:
    assert session.waiting is not None, f"{block}: nothing was left running"
    output = session.shown(session.waiting.until(session.actual(block.text)))
    session.learn(block.text, output)
    assert normal(output) == normal(block.text), str(block)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_of_a_known_kind(page: Path) -> None:
    """No curl line escapes the test by standing in another kind of block, and all Python is Python."""
    for block in blocks(page):
        assert block.language in NOT_RUN | {"python", "console"}, f"{block}: {block.language!r}"
        if block.language == "python":
            ast.parse(block.text)
        elif block.language != "console":
            assert "curl " not in block.text, f"{block}: show it as console, with its output"
