"""The fault table: what clients see of several nodes while faults strike, judged by validators.

A share of it; all of it is `scripts/faults --backend sqlite --schedules 1000`, and so for each backend.
The failing seed repeats its schedule.
"""

from __future__ import annotations

import pytest

from faults.table.command import run_seeds

SEEDS = {"memory": (6,), "sqlite": (3, 8, 19), "redis": (1, 7), "nats": (1, 7), "postgres": (2, 4)}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("backend", SEEDS)
async def test_no_fault_violates_a_promise(backend):
    async for outcome in run_seeds(backend, list(SEEDS[backend]), None):
        assert not outcome.violations, outcome.told[:20_000]
