"""Web nodes of ``elsewhere_app`` in this process, and Celery workers of it in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

HERE = Path(__file__).parent
FINAL = {"succeeded", "failed", "canceled"}


class Node:
    """One web node, called without a network."""

    def __init__(self, app: Any, live: Any) -> None:
        self.live = live
        transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://app.test")

    @property
    def service(self) -> Any:
        return self.live._operations.service

    async def post(self, url: str, **request: Any) -> str:
        """Submit; where the operation is."""
        response = await self.client.post(url, **request)
        assert response.status_code == 202, response.text
        return str(response.headers["location"])

    async def read(self, url: str) -> dict[str, Any]:
        return (await self.client.get(url)).json()  # type: ignore[no-any-return]

    async def until(
        self, url: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 20
    ) -> dict[str, Any]:
        """The document once ``holds`` is true of it."""
        found: dict[str, Any] = {}

        async def poll() -> dict[str, Any]:
            nonlocal found
            while not holds(found := await self.read(url)):
                await asyncio.sleep(0.02)
            return found

        try:
            return await asyncio.wait_for(poll(), seconds)
        except TimeoutError:
            raise AssertionError(f"It has not come to that: {found}") from None

    async def done(self, url: str, seconds: float = 20) -> dict[str, Any]:
        """The document once it is final."""
        return await self.until(url, lambda it: it["status"] in FINAL, seconds)

    async def run(self, url: str, **request: Any) -> dict[str, Any]:
        """Submit, and the document once it is final."""
        return await self.done(await self.post(url, **request))

    async def pid(self, url: str) -> int:
        """The process that runs it, which says so in its message."""
        found = await self.until(
            url, lambda it: bool(it["progress"]["message"]) and it["status"] == "running"
        )
        return int(found["progress"]["message"])

    async def close(self) -> None:
        await self.client.aclose()
        if self.live._operations is not None:
            await asyncio.to_thread(self.live._operations.drain, 0)
        self.live.backend.close()


class Worker:
    """A Celery worker. ``pool`` is prefork, threads or solo."""

    def __init__(self, folder: Path, env: dict[str, str], pool: str = "prefork", size: int = 2) -> None:
        module = env.get("ELSEWHERE_MODULE", "elsewhere_app")
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "celery", "-A", f"{module}:celery", "worker", "-P", pool]
        command += ["-c", str(size), "-l", "INFO", "-n", f"w{time.monotonic_ns()}@%h"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["timeout", "-s", "KILL", "180", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **env, "ELSEWHERE_WORKER": "1", "PYTHONPATH": path},
                start_new_session=True,
            )

    def await_ready(self) -> Worker:
        """Return once it takes tasks."""
        deadline = time.monotonic() + 30
        while " ready." not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        return self

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Of the worker itself, not of the ``timeout`` round it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def stop(self) -> None:
        """Kill all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


class Bench:
    """Nodes and workers of one test, or of several."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.queue = f"q{time.monotonic_ns()}"
        self.env = {"RESTIVE_HOME": str(folder / "home"), "ELSEWHERE_QUEUE": self.queue, **env}
        self.nodes: list[Node] = []
        self.workers: list[Worker] = []
        self.app: Any = None

    def module(self) -> Any:
        """The app's module, imported with this bench's environment."""
        if self.app is None:
            before = dict(os.environ)
            os.environ.update(self.env)
            sys.modules.pop("elsewhere_app", None)
            try:
                self.app = importlib.import_module("elsewhere_app")
            finally:
                os.environ.clear()
                os.environ.update(before)
        return self.app

    def node(self, **settings: Any) -> Node:
        """One more web node. ``home`` is its state folder, where it has one of its own."""
        home = settings.pop("home", self.env["RESTIVE_HOME"])
        module = self.module()
        given = {"lease": float(self.env.get("ELSEWHERE_LEASE", "3"))}
        given["parts"] = self.env.get("ELSEWHERE_PARTS") or None  # type: ignore[assignment]
        # Each has an app of its own: on one, two of a name would be refused.
        celery = settings.pop("engine", None) or module.new_celery()
        made = Node(*module.node(celery, **{**given, **settings}))
        Path(home).mkdir(parents=True, exist_ok=True)
        made.live._home = Path(home)
        self.nodes.append(made)
        return made

    async def worker(self, pool: str = "prefork", size: int = 2, **env: str) -> Worker:
        """One more worker, which is ready."""
        self.workers.append(Worker(self.folder, {**self.env, **env}, pool, size))
        return await asyncio.to_thread(self.workers[-1].await_ready)

    async def close(self) -> None:
        """End the workers, and the nodes."""
        for worker in self.workers:
            worker.stop()
        await self.close_nodes()

    async def close_nodes(self) -> None:
        """End the nodes."""
        nodes, self.nodes = self.nodes, []
        for node in nodes:
            await node.close()
