"""Calls through an engine alone, with a real run on a real backend behind each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from restive.backends.port import Backend
from restive.operations import Operation
from restive.operations.arguments import signature_of
from restive.operations.calling import Outcome
from restive.operations.engines.making import make_engine
from restive.operations.engines.port import Engine, Task
from restive.operations.files import Files, FilesPlace, Part
from restive.operations.record import OperationRecord
from restive.operations.run import Run
from restive.operations.store import Store
from restive.settings import Settings


class Started:
    """A call that may still run."""

    def __init__(self, run: Run, call: Callable[[], Outcome]) -> None:
        self.run = run
        self._outcome: list[Outcome] = []
        self._thread = threading.Thread(target=lambda: self._outcome.append(call()), daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return bool(self._outcome)

    def end(self, seconds: float = 20) -> Outcome:
        self._thread.join(seconds)
        assert self._outcome, "the call has not ended"
        return self._outcome[0]

    def said(self) -> str:
        """The message of its progress, once there is one."""
        return eventually(lambda: self.run._meter.progress.message)


class Calls:
    """Calls through one engine."""

    def __init__(self, backend: Backend, home: Path, given: Any, **settings: Any) -> None:
        self.store = Store(lambda: backend)
        self.files = Files(lambda: FilesPlace(home))
        options = Settings.of({"report_interval": 0.01, **settings})
        self.engine: Engine = make_engine(given, 2, options, lambda: home)
        self._count = 0

    def run(self) -> Run:
        """A claimed operation."""
        self._count += 1
        identity = f"op-{self._count}-{time.monotonic_ns()}"
        record = OperationRecord(
            id=identity, declaration="/it", route="/it", target="/it", created=time.time(), retention=60.0
        )
        self.store.create(record, b"{}")
        claimed = self.store.update(identity, lambda it: it.claimed("me", time.time(), 60.0))
        assert claimed is not None
        return Run(
            claimed,
            self.store,
            self.files,
            interval=0.01,
            lease=60.0,
            wake=lambda: None,
            announce=lambda _: None,
        )

    def start(self, function: Callable[..., Any], **arguments: Any) -> Started:
        task = Task(function, signature_of(function, Operation), msgspec.json.encode(arguments, enc_hook=str))
        run = self.run()
        return Started(run, lambda: self.engine.call(task, run))

    def call(self, function: Callable[..., Any], **arguments: Any) -> Outcome:
        return self.start(function, **arguments).end()

    def result(self, function: Callable[..., Any], **arguments: Any) -> Any:
        outcome = self.call(function, **arguments)
        assert outcome.status == "succeeded", outcome
        assert outcome.result is not None
        return json.loads(outcome.result)

    def parts(self, run: Run) -> list[Part]:
        return [msgspec.json.decode(each, type=Part) for each in self.store.parts(run.id, "", 100).items]


def eventually(found: Callable[[], Any], seconds: float = 20) -> Any:
    """What ``found`` returns once that is true."""
    until = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < until, "it has not come true"
        time.sleep(0.005)
    return value


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
