"""Names of operations: unguessable, and sorted by when they were made."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from restive.operations.identity import Identities, is_identity, time_of


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=50),
    st.sampled_from([os.urandom, bytes, b"\xff".__mul__]),
)
def test_names_sort_by_the_order_in_which_they_were_made(steps, random):
    identities, now, made = Identities(random), 1_700_000_000.0, []
    for step in steps:
        now += step / 1000
        made.append(identities.new(now))
    assert made == sorted(set(made))
    assert all(map(is_identity, made))
    assert abs(time_of(made[-1]) - now) < 0.002


def test_a_clock_that_is_set_back_gives_names_of_its_time():
    identities = Identities(os.urandom)
    assert identities.new(2_000.0) > identities.new(1_000.0)
