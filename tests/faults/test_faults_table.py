"""The fault table: what clients see of several nodes while faults strike, judged by validators.

A share of it; all of it is `scripts/faults --backend sqlite --schedules 1000`, and so for each backend.
The failing seed repeats its schedule.
"""

from __future__ import annotations

import pytest

from faults.table.command import run_seeds

SEEDS = {"memory": (2,), "sqlite": (3, 7), "redis": (7, 12), "nats": (3, 23), "postgres": (2, 13)}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("backend", SEEDS)
async def test_no_fault_violates_a_promise(backend):
    async for outcome in run_seeds(backend, list(SEEDS[backend]), None):
        assert not outcome.violations, outcome.told[:20_000]
