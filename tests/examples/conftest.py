"""The examples as their reader runs them: by uvicorn from the folder above, asked over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from restive import Client
from scenarios.servers import ProcessServer

ROOT = Path(__file__).parents[2]


@dataclass
class Example:
    """A served example and a client of it."""

    server: ProcessServer
    client: Client

    def submit(self, path: str, **request: Any) -> Any:
        """The operation that a POST starts."""
        return self.client.operation(self.client.post(path, **request))

    def run(self, path: str, **request: Any) -> dict[str, Any]:
        """The final document of the operation that a POST starts."""
        *_, last = self.submit(path, **request).progress()
        return last


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Example]]:
    """Serve one, with these environment variables, until the module's tests are over."""
    with ExitStack() as started:

        def start(name: str, **env: str) -> Example:
            folder = tmp_path_factory.mktemp(name)
            server = ProcessServer(f"examples.{name}:app", folder, cwd=ROOT, env=env)
            started.callback(server.stop)
            return Example(server, started.enter_context(Client(server.url)))

        yield start
