"""What a session holds for each target: as a table would, the first without one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restive.wire.watched import Watched

TARGETS = ("/a", "/b", "/c")
STEPS = st.tuples(st.sampled_from(["hold", "hold", "forget", "clear"]), st.sampled_from(TARGETS))


@given(st.lists(STEPS, max_size=30))
def test_it_is_a_table(steps: list[tuple[str, str]]) -> None:
    watched, table = Watched(), {}
    for number, (what, target) in enumerate(steps):
        if what == "hold":
            assert watched.hold(target, number) == table.get(target)
            table[target] = number
        elif what == "forget":
            watched.forget(target)
            table.pop(target, None)
        else:
            assert sorted(watched.clear()) == sorted(table.values())
            table.clear()
        assert len(watched) == len(table)
        assert sorted(watched.targets()) == sorted(table)
        assert [(each in watched, watched.held(each)) for each in TARGETS] == [
            (each in table, table.get(each)) for each in TARGETS
        ]
