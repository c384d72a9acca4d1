"""A part whose answer is lost, although it is stored: it counts once, whatever is stored meanwhile."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from process_calls import Calls, eventually

from restive.backends.memory import MemoryBackend
from restive.backends.port import Append
from restive.errors import BackendUnavailable
from restive.operations.parts import Part


class Unanswered(MemoryBackend):
    """Does what it is asked; the answer to the first part of an operation is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = False

    def apply(self, steps: Any, *, durable: bool = True) -> Any:
        results = super().apply(steps, durable=durable)
        if not self.lost and any(isinstance(step, Append) and step.items for step in steps):
            self.lost = True
            raise BackendUnavailable("No answer came.")
        return results


def test_a_part_whose_answer_is_lost_counts(tmp_path: Path) -> None:
    backend = Unanswered()
    calls = Calls(backend, tmp_path, "processes")
    run = calls.run()
    names = ["0.txt", "1.txt", "2.txt"]

    def publish() -> None:
        for name in names:
            run.publish(Part(name=name, type="text/plain", size=1, digest=""))

    publishing = threading.Thread(target=publish)
    publishing.start()
    eventually(lambda: backend.lost)
    run.save()  # the keeper renews the lease while the run waits for the backend
    publishing.join(20)
    assert calls.store.load(run.id).parts == 3
    assert [json.loads(item)["name"] for item in calls.store.parts(run.id, "", 10).items] == names
