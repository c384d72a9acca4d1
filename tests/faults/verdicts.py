"""What is printed of a run that violated something: the seed, the violations, and what led to them."""

from __future__ import annotations

from collections.abc import Sequence

from .history import History
from .plans import Plan
from .validators import Violation

MOST = 4
"""Operations whose lines are shown."""


def explain(plan: Plan, history: History, violations: Sequence[Violation], begun: float) -> str:
    """The report; ``python -m benchmarks.crashes --seed N --runs 1`` repeats the run."""
    ops = list(dict.fromkeys(each.op for each in violations if each.op))[:MOST]
    lines = [
        f"seed {plan.seed}, engines {','.join(plan.engines)}, {plan.settings}",
        *(f"- {each}" for each in violations),
        history.told(ops, begun),
    ]
    return "\n".join(lines)
