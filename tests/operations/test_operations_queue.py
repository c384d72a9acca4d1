"""The queue: order, limits and places, as a table and against a plain model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restive.operations.queue import Pace, Queue, Waiting
from restive.operations.record import Place


def entry(identity: str, **given) -> Waiting:
    return Waiting(
        identity, given.pop("engine", "threads"), given.pop("declaration", "/a"), f"/a/{identity}", **given
    )


def taken(queue: Queue, engine: str = "threads", now: float = 0.0) -> list[str]:
    found = []
    while (one := queue.take(engine, now)) is not None:
        found.append(one.id)
    return found


def test_higher_priority_first_then_the_older_one():
    queue = Queue()
    for each in (entry("b"), entry("a"), entry("z", priority=5), entry("c", priority=-1)):
        queue.add(each, 0)
    assert taken(queue) == ["z", "a", "b", "c"]


def test_what_waits_or_is_under_way_is_not_added_again():
    queue = Queue()
    queue.add(entry("a"), 0)
    queue.add(entry("a"), 0)
    assert len(queue) == 1
    assert taken(queue) == ["a"]
    queue.add(entry("a"), 0)
    assert taken(queue) == []
    queue.done("a")
    queue.add(entry("a"), 0)
    assert taken(queue) == ["a"]


def test_concurrency_of_one_declaration_holds_back_only_itself():
    queue = Queue()
    for each in (entry("a", limit=1), entry("b", limit=1), entry("c", declaration="/c")):
        queue.add(each, 0)
    assert taken(queue) == ["a", "c"]
    queue.done("a")
    assert taken(queue) == ["b"]


def test_an_owner_at_its_limit_is_passed_by_others():
    queue = Queue(owner_running=1)
    for each in (entry("a", owner="ann"), entry("b", owner="ann"), entry("c", owner="bob"), entry("d")):
        queue.add(each, 0)
    assert taken(queue) == ["a", "c", "d"]
    queue.done("a")
    assert taken(queue) == ["b"]


def test_one_waits_for_its_time_and_then_lines_up():
    queue = Queue()
    queue.add(entry("a", not_before=10), 0)
    queue.add(entry("b"), 0)
    assert queue.position("a") is None
    assert queue.position("b") == 1
    assert queue.next_due() == 10
    assert taken(queue) == ["b"]
    assert queue.due(9.9) == []
    assert queue.due(10) == ["threads"]
    assert queue.next_due() is None
    assert taken(queue, now=10) == ["a"]


def test_one_that_waits_for_its_time_can_be_discarded():
    queue = Queue()
    queue.add(entry("a", not_before=10, owner="ann"), 0)
    queue.discard("a")
    queue.discard("a")
    assert (queue.next_due(), len(queue), queue.owned("ann")) == (None, 0, 0)
    assert taken(queue, now=20) == []


def test_an_engine_takes_only_its_own():
    queue = Queue()
    queue.add(entry("a", engine="threads"), 0)
    queue.add(entry("b", engine="processes"), 0)
    assert taken(queue, "processes") == ["b"]
    assert queue.position("a") == 1


def test_a_place_says_how_many_are_ahead_and_when_it_may_start():
    queue, pace = Queue(), Pace()
    for identity in "abcd":
        queue.add(entry(identity), 0)
    assert queue.place("c", pace, 2) == Place(3, None)
    pace.ran(10, now=100)
    assert queue.place("c", pace, 2) == Place(3, 115.0)
    assert queue.place("nobody", pace, 2) is None
    assert [each.id for each in queue.first(2)] == ["a", "b"]


MOVES = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.integers(0, 30),
            st.integers(-1, 1),
            st.sampled_from([None, "ann", "bob"]),
            st.sampled_from([None, 1, 2]),
        ),
        st.tuples(st.just("take")),
        st.tuples(st.just("done"), st.integers(0, 30)),
        st.tuples(st.just("discard"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(MOVES, st.integers(0, 2))
def test_it_is_as_a_sorted_list_with_the_same_limits(moves, owner_running):
    queue = Queue(owner_running)
    waiting: dict[str, Waiting] = {}
    running: dict[str, Waiting] = {}

    def may(one: Waiting) -> bool:
        same = [each for each in running.values() if each.declaration == one.declaration]
        own = [each for each in running.values() if each.owner == one.owner]
        fits = one.limit is None or len(same) < one.limit
        return fits and (not owner_running or one.owner is None or len(own) < owner_running)

    for name, *args in moves:
        if name == "add":
            number, priority, owner, limit = args
            one = entry(f"{number:02}", priority=priority, owner=owner, limit=limit, declaration=f"/{limit}")
            queue.add(one, 0)
            if one.id not in waiting and one.id not in running:
                waiting[one.id] = one
        elif name == "take":
            best = min((each for each in waiting.values() if may(each)), key=lambda it: it.rank, default=None)
            assert queue.take("threads", 0) == best
            if best is not None:
                running[best.id] = waiting.pop(best.id)
        elif name == "done":
            queue.done(f"{args[0]:02}")
            running.pop(f"{args[0]:02}", None)
        else:
            queue.discard(f"{args[0]:02}")
            waiting.pop(f"{args[0]:02}", None)
        ranked = sorted(each.rank for each in waiting.values())
        assert {one: queue.position(one) for one in waiting} == {
            identity: place for place, (_, identity) in enumerate(ranked, 1)
        }
        assert queue.known() == {*waiting, *running}
        for owner in ("ann", "bob"):
            assert queue.owned(owner) == sum(each.owner == owner for each in waiting.values())
