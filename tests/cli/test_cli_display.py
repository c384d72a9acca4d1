"""Progress as people see it, on a terminal and in a log."""

from __future__ import annotations

import io

from restive.cli.display import Bar, Lines
from restive.cli.exits import printable
from restive.client import OperationState

CHUNKS = {"total": 8, "unit": "chunks"}


def document(status: str, *, attempt: int = 1, queue: object = None, **progress: object) -> OperationState:
    members = {"status": status, "attempt": attempt, "queue": queue, "progress": progress}
    return OperationState(members, "http://host/digests/1")


def test_in_a_log_a_line_comes_at_a_change_of_status_and_then_now_and_then() -> None:
    stream, time = io.StringIO(), [0.0]
    lines = Lines(stream, now=lambda: time[0])
    for second in range(8):
        time[0] = second
        lines.show(document("running", completed=second, **CHUNKS))
    lines.show(document("succeeded", completed=8, **CHUNKS))
    assert stream.getvalue().splitlines() == [
        "running: 0/8 chunks",
        "running: 5/8 chunks",
        "succeeded: 8/8 chunks",
    ]


def test_in_a_log_the_place_in_the_queue_and_another_attempt_are_told() -> None:
    stream = io.StringIO()
    lines = Lines(stream, now=lambda: 0.0)
    lines.show(document("queued", queue={"position": 3, "starts": None}))
    lines.show(document("running", completed=1, **CHUNKS))
    lines.show(document("queued", attempt=2, message="Attempt 1: out of luck"))
    lines.show(document("running", attempt=2))
    assert stream.getvalue().splitlines() == [
        "queued: number 3 in the queue",
        "running: 1/8 chunks",
        "queued, attempt 2: Attempt 1: out of luck",
        "running, attempt 2",
    ]


def test_the_bar_prints_lines_above_itself_and_leaves_nothing() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.show(document("queued", queue={"position": 3, "starts": None}))
    bar.show(document("running", completed=3, message="[bold]counting", **CHUNKS))
    bar.say("http://127.0.0.1/parts/0.json")
    bar.close()
    assert "http://127.0.0.1/parts/0.json\n" in stream.getvalue()


def test_what_a_server_sends_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\r\x9b\u202ec") == "a\\x1b[31mb\\x0d\\x9b\\x202ec"
    assert printable("é\t→\n") == "é\t→\n"
