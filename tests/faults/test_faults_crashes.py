"""The crash test: operations under kills, stops and restarts at random points, judged by validators.

A share of it; all of it is `python -m benchmarks.crashes --runs 500`. The failing seed repeats its plan.
"""

from __future__ import annotations

import pytest

from faults.driver import Driver
from faults.plans import plan
from faults.validators import judge
from faults.verdicts import explain

SEEDS = range(101, 107)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
async def test_no_crash_violates_a_promise(seed, tmp_path):
    driver = Driver(plan(seed), tmp_path)
    history = await driver.run()
    violations = judge(history)
    assert not violations, explain(driver.plan, history, violations, driver.begun)
