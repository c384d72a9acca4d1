"""What a server knows of the operations that it has sent to other machines."""

from __future__ import annotations

from restive.operations.posting import LATEST, SOONEST, Posting
from restive.operations.queue import Waiting
from restive.operations.record import RESEND_AFTER, RESEND_AT_MOST, OperationRecord


def entry(identity: str, owner: str | None = None) -> Waiting:
    return Waiting(identity, "celery", "/d", f"/d/{identity}", owner)


def test_what_was_begun_or_is_over_waits_no_more():
    posting = Posting()
    for name in ("queued", "begun", "over"):
        posting.leave(entry(name, "ann"))
        posting.note(name, 50.0)
    assert (len(posting), posting.owned("ann")) == (3, 3)
    assert posting.settle(posting.known(), {"queued": False, "begun": True}) == []
    assert (len(posting), posting.owned("ann")) == (1, 1)
    assert posting.quiet(49.0) == {"queued"}
    assert posting.quiet(51.0) == set()
    posting.discard("queued")
    assert (len(posting), posting.owned("ann")) == (0, 0)


def test_marks_that_were_read_before_say_nothing_of_what_came_later():
    posting = Posting()
    known, marks = posting.known(), {}
    posting.leave(entry("new"))
    posting.note("new", 50.0)
    posting.limit("new")
    assert posting.settle(known, marks) == []
    assert (len(posting), posting.limited) == (1, {"new"})


def test_the_limited_are_told_of_when_they_have_ended():
    posting = Posting()
    posting.limit("one")
    assert posting.settle(posting.known(), {"one": True}) == []
    assert posting.settle(posting.known(), {}) == ["one"]
    assert posting.limited == set()


def test_an_engine_that_takes_nothing_is_tried_ever_more_seldom():
    posting = Posting()
    assert posting.may_send("celery", 0.0)
    assert posting.refused("celery", 0.0)
    assert not posting.may_send("celery", 0.3 * SOONEST)
    assert posting.may_send("celery", SOONEST)
    for _ in range(20):
        assert not posting.refused("celery", 10.0)
    when, engine = posting.next_try()
    assert engine == "celery"
    assert 10.0 + 0.6 * LATEST < when <= 10.0 + LATEST
    assert posting.took("celery")
    assert not posting.took("celery")
    assert posting.next_try() is None


def test_one_that_nobody_begins_is_sent_again_ever_more_seldom():
    record = OperationRecord("i", "/d", "/d", "/d", created=0, retention=1, sent=100.0, sends=1)
    assert record.send_at() == 100.0 + RESEND_AFTER
    assert record.sent_again(200.0).send_at() == 200.0 + 2 * RESEND_AFTER
    for _ in range(40):
        record = record.sent_again(200.0)
    assert record.send_at() == 200.0 + RESEND_AT_MOST
    assert record.unsent().send_at() == 0.0
    running = record.claimed("me", 0.0, 15.0, 1)
    assert running.failed({}, 300.0, retry=True).sends == 41  # it is final
    from msgspec.structs import replace

    again = replace(running, retries=1).failed({}, 300.0, retry=True)
    assert (again.sends, again.send_at()) == (0, 301.0)
    # Only who was sent this attempt runs it, and by the sender's clock.
    assert again.claimed("me", 0.0, 15.0, 1) is None
    assert again.claimed("me", 0.0, 15.0, 2) is not None
