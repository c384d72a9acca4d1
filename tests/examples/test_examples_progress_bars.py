"""The function with bars of tqdm: its progress, told by a worker process, and nothing is printed."""

from __future__ import annotations

import pytest

POINTS = [[0, 1], [1, 3], [2, 5]]


@pytest.fixture(scope="module")
def served(example):
    return example("progress_bars")


def test_its_bars_are_the_progress(served):
    document = served.run("/fits", json=POINTS)
    assert document["result"] == {"slope": 2.0, "offset": 1.0}
    progress = document["progress"]
    assert (progress["completed"], progress["total"], progress["unit"]) == (200, 200, "epochs")
    assert progress["message"].startswith("fitting, loss=")
    assert "epochs/s" not in served.server.log


def test_the_inner_bar_is_the_message_and_cancel_ends_the_loops(served):
    operation = served.submit("/fits", params={"epochs": 10**9}, json=POINTS * 1000)
    for seen in operation.progress():
        if "points: " in (seen["progress"]["message"] or ""):
            break
    assert seen["progress"]["unit"] == "epochs"
    operation.cancel()
    *_, last = operation.progress()
    assert last["status"] == "canceled"
    assert 0 <= last["progress"]["completed"] < 10**9
