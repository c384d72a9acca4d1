"""What the states that Celery tells mean for the operation of a task."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.errors import Problem
from restive.operations.engines.task_states import DOUBT, Result, TaskSeen, after
from restive.operations.record import FINAL, OperationRecord


def queued(**given: Any) -> OperationRecord:
    fields = {"created": 0.0, "retention": 60.0, "sent": 10.0, "sends": 2, **given}
    return OperationRecord("i", "/d", "/d", "/d", **fields)


def seen_of(
    it: OperationRecord, state: str, info: Any = None, retries: int | None = None, **more: Any
) -> Any:
    options = {"now": 20.0, "result": Result(), "name": "resize", "limit": None, **more}
    return after(it, TaskSeen(state, info, retries), **options)


def test_the_way_through():
    it = seen_of(queued(), "PENDING")
    assert it == queued()
    it = seen_of(it, "STARTED", {"pid": 7, "hostname": "w"})
    assert (it.status, it.started, it.progress.completed) == ("running", 20.0, 0)
    it = seen_of(it, "PROGRESS", {"current": 3, "total": 7, "status": "halfway"})
    assert (it.progress.completed, it.progress.total, it.progress.message) == (3, 7, "halfway")
    it = seen_of(it, "SUCCESS", result=Result(b"[1]"))
    assert (it.status, bytes(it.result), it.lease) == ("succeeded", b"[1]", None)
    assert seen_of(it, "FAILURE") is None


@pytest.mark.parametrize(
    ("meta", "shown"),
    [
        ({"done": 1, "total": 3}, (1, 3, None, None)),
        ({"completed": 2.5, "unit": "MB", "message": "m"}, (2.5, None, "MB", "m")),
        ({"percent": 40, "description": "d"}, (40, 100, "%", "d")),
        ({"current": -3, "total": True}, (0, None, None, None)),
        ({"current": float("nan"), "status": 7}, (0, None, None, None)),
        ("no mapping", (0, None, None, None)),
        (None, (0, None, None, None)),
    ],
)
def test_what_people_write_as_progress(meta, shown):
    progress = seen_of(queued(), "PROGRESS", meta).progress
    assert (progress.completed, progress.total, progress.unit, progress.message) == shown


def test_progress_never_goes_back():
    """Two servers look, and the slower one may store the older look."""
    it = seen_of(queued(), "PROGRESS", {"current": 5})
    assert seen_of(it, "PROGRESS", {"current": 3}).progress.completed == 5


def test_a_failure_names_the_type_alone():
    ended = seen_of(queued(), "FAILURE", KeyError("secret"))
    assert ended.error["detail"] == "resize() raised KeyError."
    assert "secret" not in str(ended.error)
    assert seen_of(queued(), "REJECTED").status == "failed"
    assert seen_of(queued(cancel=15.0), "FAILURE", KeyError()).status == "canceled"
    assert seen_of(queued(), "REVOKED").status == "canceled"


def test_a_result_that_cannot_be_stored():
    ended = seen_of(queued(), "SUCCESS", result=Result(problem=Problem(500, "No")))
    assert (ended.status, ended.error["title"]) == ("failed", "No")
    long = seen_of(queued(), "SUCCESS", result=Result(b"x" * 9, long=True))
    assert (long.long, long.run, long.size) == (True, 1, 9)


def test_retries_with_and_without_their_number():
    for known in (True, False):
        it = seen_of(queued(), "STARTED", None, 0 if known else None)
        for attempt in (2, 3):
            it = seen_of(it, "RETRY", OSError(), attempt - 1 if known else None)
            assert (it.status, it.attempt) == ("queued", attempt)
            assert "OSError" in it.progress.message
            same = seen_of(it, "RETRY", OSError(), attempt - 1 if known else None)
            assert same is None or same == it
            it = seen_of(it, "STARTED", None, attempt - 1 if known else None)
            assert (it.status, it.attempt) == ("running", attempt)
        assert seen_of(it, "SUCCESS", result=Result(b"1")).attempt == 3
    assert seen_of(queued(), "SUCCESS", None, 2, result=Result(b"1")).attempt == 3


def test_time_ends_what_celery_does_not():
    assert seen_of(queued(), "PENDING", limit=9.9).error["status"] == 504
    assert seen_of(queued(), "PENDING", limit=10.1).status == "queued"
    doubt = queued(sends=1)
    assert seen_of(doubt, "PENDING", now=10.0 + DOUBT - 1).status == "queued"
    assert seen_of(doubt, "PENDING", now=10.0 + DOUBT).error["type"] == "urn:restive:interrupted"
    assert seen_of(doubt, "STARTED", now=10.0 + DOUBT).status == "running"
    assert seen_of(queued(), "PENDING", now=1e9).status == "queued"


STATES = ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "ODD"]


@given(
    st.lists(
        st.tuples(st.sampled_from(STATES), st.integers(0, 9), st.none() | st.integers(0, 3)), max_size=12
    )
)
def test_whatever_comes_is_stored_and_ends_once(steps):
    it, ends = queued(), 0
    for number, (state, count, retries) in enumerate(steps):
        new = seen_of(it, state, {"current": count}, retries, now=20.0 + number, result=Result(b"1"))
        assert new is None or not it.final
        if new is not None:
            assert new.attempt >= it.attempt
            ends += new.status in FINAL
            it = msgspec.json.decode(msgspec.json.encode(new), type=OperationRecord)
    assert ends <= 1
