"""What the port promises of announcements, as checks that any backend can be put through."""

from __future__ import annotations

from functools import partial

from restive.backends.limits import MAX_VALUE
from restive.backends.port import Backend

from .stores import Check, Ear, Stores, at_once, expect, only, refused

__all__ = ["CHECKS"]

END = b"the end"


def own_are_heard_in_order(stores: Stores) -> None:
    """A backend hears its own announcements, each of them, in order."""
    backend, ear = stores.fresh(), Ear()
    backend.listen(ear)
    sent = [b"", bytes(range(256)), "ü".encode(), *(b"%d" % n for n in range(50)), END]
    for payload in sent:
        backend.announce(payload)
    heard = ear.until(END)
    expect(heard == sent, f"Announced {sent!r}, heard {heard!r}.")


def of_others_are_heard(stores: Stores) -> None:
    """Every backend on a store hears what any of them announces."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    ears = Ear(), Ear()
    backend.listen(ears[0])
    peer.listen(ears[1])
    peer.announce(b"from the peer")
    backend.announce(b"from the first")
    for ear in ears:
        ear.until(b"from the peer")
        ear.until(b"from the first")


def none_is_missed_after_listen(stores: Stores) -> None:
    """What is announced after ``listen`` returned is heard, by the first listener and by more."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    for round_ in range(10):
        stops = []
        for listener in range(3):
            ear, payload = Ear(), b"%d/%d" % (round_, listener)
            stops.append(backend.listen(ear))
            peer.announce(payload)
            ear.until(payload)
        for stop in stops:
            stop()


def nothing_after_stop(stores: Stores) -> None:
    """A stopped listener hears nothing more, the others go on; stopping twice is no error."""
    backend, stopped, going = stores.fresh(), Ear(), Ear()
    stop = backend.listen(stopped)
    backend.listen(going)
    backend.announce(b"before")
    stopped.until(b"before")
    going.until(b"before")
    stop()
    stop()
    backend.announce(b"after")
    backend.announce(END)
    going.until(END)
    expect(b"after" not in stopped.heard, "A listener was called after it was stopped.")


def a_listener_may_raise(stores: Stores) -> None:
    """A listener that raises harms neither the announcer nor another listener nor itself."""
    backend, ear = stores.fresh(), Ear()

    def broken(payload: bytes | None) -> None:
        ear(payload)
        raise ZeroDivisionError("a listener of the suite raises on purpose")

    healthy = Ear()
    backend.listen(broken)
    backend.listen(healthy)
    backend.announce(b"first")
    backend.announce(END)
    for each in (ear, healthy):
        expect(each.until(END) == [b"first", END], f"Heard {each.heard!r}, not both announcements.")


def a_listener_may_stop_itself(stores: Stores) -> None:
    """A listener that stops itself while it is called is called no more."""
    backend, ear, other = stores.fresh(), Ear(), Ear()

    def once(payload: bytes | None) -> None:
        ear(payload)
        stop()

    stop = backend.listen(once)
    backend.listen(other)
    backend.announce(b"first")
    ear.until(b"first")
    backend.announce(END)
    other.until(END)
    expect(END not in ear.heard, "A listener that stopped itself was called again.")


def many_announcers(stores: Stores) -> None:
    """Announcers in several threads and handles: nothing is lost, each one's order is kept."""
    backend, ear = stores.fresh(), Ear()
    backend.listen(ear)
    handles = [backend, stores.peer(backend), backend, stores.peer(backend)]

    def announce(number: int, handle: Backend) -> None:
        for n in range(50):
            handle.announce(b"%d:%02d" % (number, n))

    at_once(*(partial(announce, number, handle) for number, handle in enumerate(handles)))
    for number in range(len(handles)):
        ear.until(b"%d:49" % number)
    heard = ear.until(b"0:49")
    for number in range(len(handles)):
        expected = [b"%d:%02d" % (number, n) for n in range(50)]
        got = only(heard, b"%d:" % number)
        expect(got == expected, f"Of announcer {number}, {expected!r} was announced and {got!r} heard.")


def too_large(stores: Stores) -> None:
    """An announcement of 1 MiB is heard, a larger one refused."""
    backend, ear = stores.fresh(), Ear()
    backend.listen(ear)
    with refused(ValueError, "An announcement of more than 1 MiB"):
        backend.announce(bytes(MAX_VALUE + 1))
    backend.announce(bytes(MAX_VALUE))
    ear.until(bytes(MAX_VALUE))


CHECKS: tuple[Check, ...] = (
    own_are_heard_in_order,
    of_others_are_heard,
    none_is_missed_after_listen,
    nothing_after_stop,
    a_listener_may_raise,
    a_listener_may_stop_itself,
    many_announcers,
    too_large,
)
