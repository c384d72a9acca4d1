"""The servers of ``benchmarks.operations``: Restive's, and FastAPI with Celery, its worker and its broker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .server import HOST, Server, free_port, serving


@contextmanager
def restive(
    folder: Path, workers: int, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, Path]]:
    """Restive's app on ``sqlite:`` in ``folder``, and the file."""
    file = folder / "restive.db"
    environment = {
        "RESTIVE_BACKEND": f"sqlite:///{file}",
        "RESTIVE_HOME": str(folder),
        "BENCHMARK_WORKERS": str(workers),
        **(settings or {}),
    }
    with serving("benchmarks.operations_apps:app", environment=environment) as server:
        yield server, file


@contextmanager
def peers(folder: Path, workers: int) -> Iterator[tuple[Server, int]]:
    """FastAPI in front of Celery and of bare executors, and the broker's port."""
    with broker(folder) as port:
        environment = {
            "BENCHMARK_WORKERS": str(workers),
            "BENCHMARK_BROKER": f"redis://{HOST}:{port}/0",
            "BENCHMARK_RESULTS": f"redis://{HOST}:{port}/1",
        }
        with (
            celery_worker(folder, workers, environment, "benchmarks.operations_peers"),
            serving("benchmarks.operations_peers:app", environment=environment) as server,
        ):
            yield server, port


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """valkey or redis with an append-only file that is flushed each second, and its port."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise SystemExit("Neither valkey-server nor redis-server is installed.")
    port = free_port()
    options = {"--port": str(port), "--bind": HOST, "--dir": str(folder), "--appendonly": "yes", "--save": ""}
    command = [program, *(each for option in options.items() for each in option)]
    with _process(command):
        _await_port(port)
        yield port


@contextmanager
def celery_worker(folder: Path, workers: int, environment: Mapping[str, str], module: str) -> Iterator[None]:
    """A worker of the Celery app ``celery`` in ``module``."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "celery",
        "--quiet",
        "-A",
        f"{module}:celery",
        "worker",
    ]
    command += ["--pool", "prefork", "--concurrency", str(workers), "--loglevel", "ERROR"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    root = str(Path(__file__).parent.parent)
    with _process(command, cwd=folder, env={**os.environ, **environment, "PYTHONPATH": root}):
        yield


@contextmanager
def _process(
    command: list[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit("The broker did not start.")
