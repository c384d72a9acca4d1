"""What is announced to other processes: soon, all of it, and together where it comes faster than it goes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from restive.announcements import MOST, Outbox, soon, unpack
from restive.backends.memory import MemoryBackend
from restive.errors import BackendUnavailable
from restive.http.invalidation import Change


class Slow(MemoryBackend):
    """Keeps what is announced; the first waits for ``go``, one called ``/refused`` is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.sent: list[tuple[Change, ...]] = []

    def announce(self, payload: bytes) -> None:
        self.begun.set()
        assert self.go.wait(10)
        changes = unpack(payload)[1]
        if Change("/refused") in changes:
            raise BackendUnavailable("refused")
        self.sent.append(changes)


@pytest.fixture
def backend() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.go.set()


def settled() -> None:
    """Return once all that was given to the courier is done."""
    done = threading.Event()
    soon(done.set)
    assert done.wait(10)


def test_what_comes_while_one_is_on_its_way_goes_together(backend: Slow):
    outbox = Outbox()
    outbox.put(backend, [Change("/first")])
    assert backend.begun.wait(10)
    for n in range(20):
        outbox.put(backend, [Change(f"/{n % 5}"), Change("/first")])
    backend.go.set()
    settled()
    assert backend.sent == [
        (Change("/first"),),
        (Change("/0"), Change("/first"), Change("/1"), Change("/2"), Change("/3"), Change("/4")),
    ]


def test_many_changes_are_several_payloads(backend: Slow):
    backend.go.set()
    changes = [Change(f"/{n}/{'x' * 8000}") for n in range(2 * MOST + 1)]
    Outbox().put(backend, changes)
    settled()
    assert [len(sent) for sent in backend.sent] == [MOST, MOST, 1]
    assert [change for sent in backend.sent for change in sent] == changes


def test_a_failure_is_logged_and_the_next_is_sent(backend: Slow, caplog: pytest.LogCaptureFixture):
    backend.go.set()
    outbox = Outbox()
    with caplog.at_level(logging.ERROR):
        outbox.put(backend, [Change("/refused")])
        settled()
    outbox.put(backend, [Change("/next")])
    settled()
    assert "did not reach other processes: refused" in caplog.text
    assert backend.sent == [(Change("/next"),)]


def test_changes_from_many_threads_all_arrive(backend: Slow):
    backend.go.set()
    outbox = Outbox()
    paths = [[f"/{thread}/{n}" for n in range(100)] for thread in range(8)]

    def announce(mine: list[str]) -> None:
        for path in mine:
            outbox.put(backend, [Change(path)])

    threads = [threading.Thread(target=announce, args=(mine,)) for mine in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled()
    sent = [change.path for changes in backend.sent for change in changes]
    assert sorted(sent) == sorted(path for mine in paths for path in mine)


def test_the_couriers_thread_ends_when_there_is_nothing_to_do(backend: Slow):
    settled()
    threads = [thread for thread in threading.enumerate() if thread.name == "restive-courier"]
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    settled()
