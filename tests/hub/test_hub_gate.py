"""The gate: bounded, fair between principals, and users' own requests first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restive.hub.gate import Gate


def test_never_more_than_allowed_at_once() -> None:
    gate: Gate[int] = Gate(3, 100)
    for item in range(10):
        gate.put("", item)
    assert [gate.take(0.0) for _ in range(4)] == [0, 1, 2, None]
    gate.free()
    assert gate.take(0.0) == 3


def test_principals_take_turns() -> None:
    gate: Gate[str] = Gate(100, 1000)
    for n in range(50):
        gate.put("greedy", f"greedy{n}")
    gate.put("modest", "modest0")
    assert {gate.take(0.0), gate.take(0.0)} == {"greedy0", "modest0"}


def test_a_rate_per_principal_but_not_for_what_anybody_may_see() -> None:
    gate: Gate[int] = Gate(1000, 5)
    for item in range(20):
        gate.put("a", item)
        gate.put("", 100 + item)
    taken = [item for _ in range(60) if (item := gate.take(0.0)) is not None]
    assert sum(item < 100 for item in taken) == 5
    assert sum(item >= 100 for item in taken) == 20
    at = gate.next_time(0.0)
    assert at is not None
    assert gate.take(at + 1e-9) == 5


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.booleans(), st.floats(0, 1)), max_size=80))
def test_everybody_is_served_once(steps: list[tuple[str, bool, float]]) -> None:
    gate: Gate[int] = Gate(2, 3)
    now, given_in, given_out = 0.0, 0, []
    for principal, free, wait in steps:
        now += wait
        gate.put(principal, given_in)
        given_in += 1
        if free and gate.running:
            gate.free()
        item = gate.take(now)
        if item is not None:
            given_out.append(item)
        assert gate.running <= 2
    while len(gate):
        while gate.running:
            gate.free()
        at = gate.next_time(now)
        assert at is not None
        now = max(now, at) + 0.001
        item = gate.take(now)
        if item is not None:
            given_out.append(item)
    assert sorted(given_out) == list(range(given_in))


def test_addresses_take_turns_but_have_no_rate() -> None:
    gate: Gate[str] = Gate(100, 1)
    for n in range(50):
        gate.put("@203.0.113.1", f"greedy{n}")
    gate.put("@203.0.113.2", "modest")
    taken = [gate.take(0.0) for _ in range(20)]
    assert "modest" in taken[:2]
    assert None not in taken


def test_who_has_the_whole_rate_again_is_forgotten() -> None:
    gate: Gate[int] = Gate(1000, 5)
    for principal in ("a", "b", "b", "@203.0.113.1", ""):
        gate.put(principal, 0)
    assert not gate.remembers
    while gate.take(100.0) is not None:
        pass
    assert gate.remembers
    assert gate.tick(100.3) == 101.3  # one look of a's is paid for by now, not both of b's
    gate.put("b", 1)
    assert gate.take(100.3) == 1
    assert gate.tick(102.0) is None
    assert not gate.remembers


def test_the_whole_burst_is_to_be_had_on_any_clock() -> None:
    for now in (0.0, 0.1, 1000.7, 123_456_789.3):
        gate: Gate[int] = Gate(1000, 7)
        for item in range(20):
            gate.put("a", item)
        assert sum(gate.take(now) is not None for _ in range(20)) == 7
