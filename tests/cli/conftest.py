"""The command line as a user runs it: processes of its own, in a folder of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clirun import APPS, COMMAND, Served, environment, run


@pytest.fixture
def restive(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end."""

    def in_folder(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run(tmp_path, *arguments, **options)

    return in_folder


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command whose output can be read while it runs."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env=environment(tmp_path),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``jobs:app``, served by ``restive serve`` for all tests of the command line."""
    server = Served(tmp_path_factory.mktemp("served"), "serve", "jobs:app", "--app-dir", str(APPS))
    yield server
    server.stop()
