"""What a state says of the next write, and that folding what was stored leads to the same state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.streams.items import Item, Producer, pack, unpack
from restive.streams.producers import Snapshot, State, Write, decide

TYPE = "application/json"
names = st.sampled_from(["a", "b", "ü\u20ac"])
numbers = st.integers(0, 3) | st.integers(0, 2**53 - 1)
producers = st.builds(Producer, names, st.integers(0, 1), st.integers(0, 2)) | st.builds(
    Producer, names, numbers, numbers
)
writes = st.builds(
    Write,
    st.lists(st.binary(max_size=5), max_size=3),
    st.booleans(),
    st.none() | producers,
    st.none() | st.text(min_size=1, max_size=3),
    st.sampled_from([None, TYPE, "text/plain"]),
)


@given(
    st.none() | st.binary(max_size=300),
    st.booleans(),
    st.none() | st.builds(Producer, st.text(min_size=1, max_size=200), numbers, numbers),
    st.none() | st.text(max_size=200),
    st.booleans(),
)
def test_an_item_is_unpacked_as_it_was_packed(payload, first, producer, sequence, closes):
    stored = pack(payload, first=first, producer=producer, sequence=sequence, closes=closes)
    assert unpack(stored) == Item(payload, first, producer, sequence, closes)


def test_an_item_with_nothing_to_say_costs_one_byte():
    assert len(pack(b"x" * 100)) == 101


@given(st.binary(max_size=40))
def test_foreign_bytes_are_refused_or_read_and_never_raise_anything_else(stored):
    try:
        unpack(stored)
    except ValueError:
        pass


def accept(state: State, write: Write) -> str:
    outcome = decide(state, write, TYPE)
    if outcome.verdict == "appended":
        for stored in state.stored(write):
            state.fold(unpack(stored), 100)
        state.closed = state.closed or write.close
    return outcome.verdict


class Model:
    """The rules of protocol section 5.2, written down once more and otherwise."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}
        self.done: dict[tuple[str, int], int] = {}
        self.closed = False
        self.sequences: list[str] = []

    def judge(self, write: Write) -> str:
        producer = write.producer
        if producer is not None and producer.id in self.epochs:
            epoch = self.epochs[producer.id]
            if producer.epoch < epoch:
                return "stale-epoch"
            if producer.epoch == epoch and producer.seq <= self.done[producer.id, epoch]:
                return "duplicate"
        if self.closed:
            return "was-closed" if write.close and not write.items and producer is None else "closed"
        if write.items and write.content_type == "text/plain":
            return "other-type"
        if producer is not None:
            known = self.epochs.get(producer.id)
            if known is not None and producer.epoch > known and producer.seq > 0:
                return "epoch-begins-at-0"
            if producer.seq != self.done.get((producer.id, producer.epoch), -1) + 1:
                return "gap"
        if write.sequence is not None and any(write.sequence <= each for each in self.sequences):
            return "old-sequence"
        self._take(write)
        return "appended"

    def _take(self, write: Write) -> None:
        if write.producer is not None:
            self.epochs[write.producer.id] = write.producer.epoch
            self.done[write.producer.id, write.producer.epoch] = write.producer.seq
        if write.sequence is not None:
            self.sequences.append(write.sequence)
        self.closed = self.closed or write.close


@given(st.lists(writes, max_size=30))
def test_every_decision_is_that_of_the_protocol(given_writes):
    state, model = State(), Model()
    for write in given_writes:
        assert accept(state, write) == model.judge(write)


@given(st.lists(writes, max_size=30), st.integers(0, 30))
def test_a_fold_from_any_snapshot_is_the_whole_fold(given_writes, cut):
    state, stored = State(), []
    for write in given_writes:
        if decide(state, write, TYPE).verdict == "appended":
            items = state.stored(write)
            stored += items
            for item in items:
                state.fold(unpack(item), 2)
            state.closed = state.closed or write.close
    cut = min(cut, len(stored))
    half = State()
    for item in stored[:cut]:
        half.fold(unpack(item), 2)
    again = Snapshot.of(half, "x").state()
    for item in stored[cut:]:
        again.fold(unpack(item), 2)
    again.closed = again.closed or state.closed  # a close without items is the backend's to tell
    assert again == state
    assert list(again.producers) == list(state.producers)


def test_every_earlier_batch_of_the_epoch_is_a_duplicate():
    state = State()
    for number in (0, 1, 2):
        assert accept(state, Write([b"x"], producer=Producer("a", 4, number))) == "appended"
    for number in (0, 1, 2):
        outcome = decide(state, Write([b"x"], producer=Producer("a", 4, number)), TYPE)
        assert (outcome.verdict, outcome.epoch, outcome.seq) == ("duplicate", 4, 2)


@pytest.mark.parametrize("most", [1, 3])
def test_who_was_silent_for_longest_is_forgotten(most):
    state = State()
    for name in "abcab":
        state.fold(Item(b"", producer=Producer(name, 0, 0)), most)
    assert list(state.producers) == list("abcab")[-most:] if most == 1 else ["c", "a", "b"]


def test_a_batch_of_a_forgotten_producer_that_is_not_its_first_is_not_stored_again():
    state = State()
    for number in range(2):
        accept(state, Write([b"1"], producer=Producer("a", 0, number)))
    state.fold(Item(b"", producer=Producer("b", 0, 0)), 1)
    assert decide(state, Write([b"1"], producer=Producer("a", 0, 1)), TYPE).verdict == "gap"
