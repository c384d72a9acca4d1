"""Operations in words: amounts, times, places in the queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from restive.cli.overview import description, table
from restive.cli.wording import age, amount, bar, clock, duration, gist, headline, pace, size_of, waiting
from restive.client import OperationState, Part, Place

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def document(status: str, **members: object) -> OperationState:
    return OperationState({"status": status, "progress": {}, **members}, "http://host/digests/1")


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


@pytest.mark.parametrize(
    ("completed", "total", "shown"),
    [
        (0, 8, "[..........]"),
        (4, 8, "[#####.....]"),
        (7.99, 8, "[#########.]"),
        (8, 8, "[##########]"),
        (9, 8, "[##########]"),
        (3, None, ""),
        (0, 0, ""),
    ],
)
def test_a_bar_is_full_only_at_the_end(completed: float, total: float | None, shown: str) -> None:
    assert bar({"completed": completed, "total": total}) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "just now"),
        (0.4, "just now"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7300, "2 h ago"),
        (200_000, "2 d ago"),
    ],
)
def test_ages(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.0171, 4, 59.6, 60, 3725)] == [
        "0.0171 s",
        "4 s",
        "59.6 s",
        "1:00",
        "1:02:05",
    ]


def test_sizes() -> None:
    assert [size_of(10.0**n) for n in (0, 3, 6, 9, 12)] == [
        "1 bytes",
        "1.0 kB",
        "1.0 MB",
        "1.00 GB",
        "1000.00 GB",
    ]


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        (None, ""),
        (Place(None, None), ""),
        (Place(1, None), "number 1 in the queue"),
        (Place(3, NOW + timedelta(seconds=40)), "number 3 in the queue, starts in 0:40"),
        (Place(None, NOW + timedelta(hours=2)), "starts in 2:00:00"),
        (Place(1, NOW - timedelta(seconds=9)), "number 1 in the queue, about to start"),
    ],
)
def test_places_in_the_queue(place: Place | None, shown: str) -> None:
    assert waiting(place, NOW) == shown


@pytest.mark.parametrize(
    ("members", "shown"),
    [
        ({"status": "queued", "queue": {"position": 2, "starts": None}}, "number 2 in the queue"),
        ({"status": "queued"}, ""),
        ({"status": "running"}, ""),
        (
            {"status": "running", "progress": {"completed": 4, "total": 8, "eta": 4, "message": "on\nit"}},
            "[#####.....] 4/8, 0:04 left, on it",
        ),
        ({"status": "canceled", "progress": {"completed": 4, "eta": 4}}, "4"),
        (
            {"status": "failed", "progress": {"completed": 4}, "error": {"title": "T", "detail": "why\x1b"}},
            "why\\x1b",
        ),
    ],
)
def test_what_is_said_beside_the_status(members: dict[str, object], shown: str) -> None:
    assert gist(document(**members), NOW) == shown  # type: ignore[arg-type]


def test_another_attempt_is_told() -> None:
    assert headline(document("running", attempt=1)) == "running"
    assert headline(document("running", attempt=2)) == "running, attempt 2"


def test_everything_of_an_operation_stands_under_its_name() -> None:
    times = {
        "created": "2026-11-23T11:00:00.000Z",
        "started": "2026-11-23T11:30:00.000Z",
        "finished": "2026-11-23T11:59:30.000Z",
    }
    part = Part("a.txt", "http://host/digests/1/parts/a.txt", "text/plain", 1500, "d")
    shown = description(
        document("succeeded", **times, attempt=2, result={"lines": 2}, error=None), [part], NOW
    )
    assert shown.splitlines() == [
        "url       http://host/digests/1",
        "status    succeeded, attempt 2",
        "created   2026-11-23T11:00:00.000Z, 1 h ago",
        "started   2026-11-23T11:30:00.000Z, 30 min ago",
        "finished  2026-11-23T11:59:30.000Z, 30 s ago",
        "took      29:30",
        "part      http://host/digests/1/parts/a.txt (1.5 kB, text/plain)",
        "result    {",
        '            "lines": 2',
        "          }",
    ]


def test_a_long_result_is_cut_and_an_untold_one_is_linked_to() -> None:
    many = description(document("succeeded", result=list(range(100))), [], NOW).splitlines()
    assert (len(many), many[-1].strip()) == (23, "and 82 lines more")
    link = {"result": "/digests/1/result"}
    assert "see /digests/1/result" in description(document("succeeded", result=None, links=link), [], NOW)


def test_a_table_has_a_line_for_each_cut_to_the_terminal() -> None:
    listed = document(
        "running",
        id="01m82zbmbn2gy0e6rz141xaxcejyyrcewzpe",
        attempt=2,
        created="2026-11-23T11:59:01.000Z",
        progress={"completed": 4, "total": 8, "message": "counting"},
    )
    assert list(table([listed], NOW, None)) == [
        "id                                    status     attempt  created     progress",
        "01m82zbmbn2gy0e6rz141xaxcejyyrcewzpe  running    2        59 s ago    [#####.....] 4/8, counting",
    ]
    assert [len(line) for line in table([listed], NOW, 90)] == [78, 90]
    assert list(table([listed], NOW, 5))[1].endswith("  [#####...…")
