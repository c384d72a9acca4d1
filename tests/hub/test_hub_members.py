"""The members of a variant behave as a table of tables would, however few there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from virtual import Client

from restive.http.key import RequestKey
from restive.hub.members import Members
from restive.hub.watch import Watch

KEYS = [RequestKey("http", None, "a", "", target) for target in ("/a", "/b", "/c")]
STEPS = st.tuples(st.sampled_from(["add", "add", "discard", "pop", "clear"]), st.integers(0, 5))


class Table:
    """What it stands for."""

    def __init__(self) -> None:
        self.held: dict[RequestKey, dict[Watch, None]] = {}

    def add(self, watch: Watch) -> None:
        self.held[watch.key] = {**self.held.pop(watch.key, {}), watch: None}

    def discard(self, watch: Watch) -> None:
        watches = self.held.get(watch.key, {})
        watches.pop(watch, None)
        if not watches:
            self.held.pop(watch.key, None)

    def pop(self, key: RequestKey) -> list[Watch]:
        return list(self.held.pop(key, ()))


@given(st.lists(STEPS, max_size=30))
def test_they_are_a_table_by_request(steps: list[tuple[str, int]]) -> None:
    watches = [Watch(Client(), KEYS[number // 2], None) for number in range(6)]
    members, table = Members(), Table()
    for what, number in steps:
        watch = watches[number]
        if what == "add":
            members.add(watch)
            table.add(watch)
        elif what == "discard":
            members.discard(watch)
            table.discard(watch)
        elif what == "pop":
            assert members.pop(watch.key) == table.pop(watch.key)
        else:
            members.clear()
            table.held.clear()
        assert len(members) == len(table.held)
        assert members.requests() == list(table.held)
        assert list(members) == [watch for each in table.held.values() for watch in each]
        assert [key in members for key in KEYS] == [key in table.held for key in KEYS]
        for key, held in table.held.items():
            assert members.latest_of(key) is list(held)[-1]
        if table.held:
            assert members.latest() is list(list(table.held.values())[-1])[-1]
