"""A server that is killed or stopped just before one of its changes of store or disk.

A share of it; all points are tried by `python -m benchmarks.crashes --points`.
"""

from __future__ import annotations

import pytest

from faults.point_runs import PointDriver, point_plan
from faults.validators import judge
from faults.verdicts import explain


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("kind", "what", "number"),
    [("collect", "kill", 19), ("collect", "stop", 19), ("digest", "kill", 9), ("wait", "kill", 7)],
)
async def test_no_point_is_a_bad_one_to_be_harmed_at(kind, what, number, tmp_path):
    driver = PointDriver(point_plan(kind), tmp_path, what, number)
    history = await driver.run()
    violations = judge(history)
    assert not violations, explain(driver.plan, history, violations, driver.begun)
    assert any(note.what == "point" for note in history.notes), "the server never came to this point"
