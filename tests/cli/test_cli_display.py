"""Progress as people see it, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest

from restive.cli.display import Bar, Lines, amount, clock, pace
from restive.cli.exits import printable


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({"completed": 3, "total": 8, "unit": "chunks"}, "3/8 chunks"),
        ({"completed": 3, "total": None, "unit": None}, "3"),
        ({"completed": 0.5, "total": 1, "unit": "km"}, "0.5/1 km"),
        ({"completed": 10_000_000_000, "total": None, "unit": "bytes"}, "10000000000 bytes"),
        ({}, "0"),
    ],
)
def test_amounts(progress: dict[str, object], shown: str) -> None:
    assert amount(progress) == shown


def test_rate_and_time_left_are_shown_where_they_are_known() -> None:
    assert pace({"rate": 2.5, "eta": 64.2}) == "2.5/s, 1:04 left"
    assert pace({"rate": None, "eta": None}) == ""
    assert clock(3725) == "1:02:05"


def test_in_a_log_a_line_comes_at_a_change_of_status_and_then_now_and_then() -> None:
    stream, time = io.StringIO(), [0.0]
    lines = Lines(stream, now=lambda: time[0])
    for second in range(8):
        time[0] = second
        lines.show({"completed": second, "total": 8, "unit": "chunks"}, "running")
    lines.show({"completed": 8, "total": 8, "unit": "chunks"}, "succeeded")
    assert stream.getvalue().splitlines() == [
        "running: 0/8 chunks",
        "running: 5/8 chunks",
        "succeeded: 8/8 chunks",
    ]


def test_the_bar_prints_lines_above_itself_and_leaves_nothing() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.show({"completed": 3, "total": 8, "unit": "chunks", "message": "[bold]counting"}, "running")
    bar.say("http://127.0.0.1/parts/0.json")
    bar.close()
    assert "http://127.0.0.1/parts/0.json\n" in stream.getvalue()


def test_what_a_server_sends_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\r\x9b\u202ec") == "a\\x1b[31mb\\x0d\\x9b\\x202ec"
    assert printable("é\t→\n") == "é\t→\n"
