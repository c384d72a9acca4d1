"""What is announced to other processes: soon, all of it, and together where it comes faster than it goes."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from restive.announcements import MOST, PATIENCE, Outbox, Subscription, pack, soon, unpack
from restive.backends.memory import MemoryBackend
from restive.backends.port import Listener
from restive.errors import BackendUnavailable
from restive.http.invalidation import Change


class Slow(MemoryBackend):
    """Keeps what is announced; the first waits for ``go``."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.sent: list[tuple[Change, ...]] = []

    def announce(self, payload: bytes) -> None:
        self.begun.set()
        assert self.go.wait(10)
        self.sent.append(unpack(payload)[1])


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


def test_a_process_that_ends_waits_until_all_has_left_it(backend: Slow):
    outbox = Outbox()
    outbox.put(backend, [Change("/first")])
    assert backend.begun.wait(10)
    outbox.put(backend, [Change("/second")])
    ending = threading.Thread(target=outbox.flush, args=(10,))
    ending.start()
    assert ending.is_alive()
    backend.go.set()
    ending.join(10)
    assert backend.sent == [(Change("/first"),), (Change("/second"),)]


def test_it_does_not_wait_for_ever(backend: Slow, caplog: pytest.LogCaptureFixture):
    outbox = Outbox()
    outbox.put(backend, [Change("/first")])
    assert backend.begun.wait(10)
    outbox.flush(0.01)
    assert "did not leave this process" in caplog.text


def test_many_changes_are_several_payloads(backend: Slow):
    backend.go.set()
    changes = [Change(f"/{n}/{'x' * 8000}") for n in range(2 * MOST + 1)]
    Outbox().put(backend, changes)
    settled()
    assert [len(sent) for sent in backend.sent] == [MOST, MOST, 1]
    assert [change for sent in backend.sent for change in sent] == changes


class Away(MemoryBackend):
    """Cannot be reached the first ``times`` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def announce(self, payload: bytes) -> None:
        self._reach()
        super().announce(payload)

    def listen(self, listener: Listener) -> Callable[[], None]:
        self._reach()
        return super().listen(listener)

    def _reach(self) -> None:
        if self.left:
            self.left -= 1
            raise BackendUnavailable("away")


def heard_by(backend: MemoryBackend) -> queue.Queue[tuple[Change, ...]]:
    """What others hear of ``backend``."""
    said: queue.Queue[tuple[Change, ...]] = queue.Queue()
    MemoryBackend.listen(backend, lambda payload: said.put(unpack(payload)[1]) if payload else None)
    return said


def test_what_could_not_be_announced_is_announced_later(caplog: pytest.LogCaptureFixture):
    """Nobody else can know of it."""
    backend, outbox = Away(3), Outbox()
    said = heard_by(backend)
    with caplog.at_level(logging.ERROR):
        outbox.put(backend, [Change("/first")])
        settled()
        outbox.put(backend, [Change("/next")])
        found: set[Change] = set()
        while found != {Change("/first"), Change("/next")}:
            found.update(said.get(timeout=10))
    assert caplog.text.count("did not reach other processes yet: away") == 1


def test_after_many_failures_everything_has_changed():
    backend = Away(PATIENCE + 1)
    said = heard_by(backend)
    Outbox().put(backend, [Change("/first")])
    assert said.get(timeout=20) == (Change("/", below=True),)


def test_what_nobody_could_hear_at_first_is_heard_later():
    """And what was announced meanwhile is made good by looking at everything."""
    backend = Away(2)
    news: queue.Queue[object] = queue.Queue()
    subscription = Subscription(backend, news.put)
    subscription.start()
    assert news.get(timeout=10) is None
    backend.announce(pack([Change("/a")], node=b"0123456789abcdef"))
    assert news.get(timeout=10) == (Change("/a"),)
    subscription.stop()
    settled()


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
