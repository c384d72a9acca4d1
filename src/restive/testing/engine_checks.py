"""What restarts, losses and silence of an engine may do to its users, as checks for any shared backend.

They run with other processes, and with an engine that they kill, wipe and pause. A call that raised
BackendUnavailable may have been done or not; one that returned was, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import ParamSpec, Protocol, TypeVar

from restive.backends.port import LOST, Append, Backend, Save
from restive.errors import BackendUnavailable, Conflict

from .processes import PATIENCE, Open, OtherProcess
from .stores import Ear, at_once, expect, only, refused
from .stream_checks import read_all

__all__ = ["CHECKS", "Engine", "EngineCheck", "Trial"]

P = ParamSpec("P")
T = TypeVar("T")
END = b"the end"
Heard = Callable[[], list[bytes | None]]
"""What a listener has heard so far."""

RETRY = 0.02
SOME = 30
"""Writes between two faults."""

SILENCE = 20.0
"""Seconds in which every call ends, done or not."""


class Engine(Protocol):
    """An engine that runs and that the checks may harm: a server, or a file that is used."""

    @property
    def url(self) -> str:
        """What opens a backend on it. It stays the same."""
        ...

    def kill(self) -> None:
        """End it at once, as SIGKILL does: nothing is tidied up. What it has stored stays."""
        ...

    def restart(self, *, wipe: bool = False) -> None:
        """Kill it if it runs, forget its data with ``wipe``, and run it again; on return it answers."""
        ...

    def pause(self) -> None:
        """Let it answer no more, with all connections open, as SIGSTOP does."""
        ...

    def resume(self) -> None:
        """Let it go on from where it was paused."""
        ...


class Trial:
    """One check's engine, and the backends and processes that it uses on a store of its own."""

    def __init__(self, engine: Engine, opener: Open, store: str) -> None:
        self.engine = engine
        self._open = opener
        self._store = store
        self._opened: list[Backend | OtherProcess] = []

    def backend(self) -> Backend:
        """A backend in this process."""
        backend = self._open(self.engine.url, name=self._store)
        self._opened.append(backend)
        return backend

    def other(self) -> OtherProcess:
        """A backend in another process."""
        process = OtherProcess(self._open, self.engine.url, self._store)
        self._opened.append(process)
        return process

    def close(self) -> None:
        """End and close all of them."""
        for opened in reversed(self._opened):
            opened.close()


EngineCheck = Callable[[Trial], None]


def soon(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``call`` returns as soon as the engine can be reached. It may be made several times."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call(*args, **kwargs)
        except BackendUnavailable as error:
            expect(
                time.monotonic() < deadline, f"For {PATIENCE:g} s after its return no call was done: {error}"
            )
            time.sleep(RETRY)


def wait_until(condition: Callable[[], object], message: str) -> None:
    """Fail with ``message`` unless ``condition`` holds before long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        expect(time.monotonic() < deadline, message)
        time.sleep(RETRY)


def expect_acknowledged(items: Iterable[bytes], acknowledged: Mapping[str, list[int]]) -> None:
    """Fail unless what a writer was told is there once and in order, and the rest at most once."""
    found: dict[str, list[int]] = {writer: [] for writer in acknowledged}
    for item in items:
        writer, _, number = item.decode().partition(":")
        expect(writer in found, f"There is an item of nobody: {item!r}.")
        found[writer].append(int(number))
    for writer, numbers in acknowledged.items():
        own = found[writer]
        twice = (
            sorted({number for number in own if own.count(number) > 1}) if len(set(own)) < len(own) else []
        )
        expect(not twice, f"Of writer {writer} these are there twice: {twice!r}.")
        told = set(numbers)
        expect(
            not told - set(own), f"Of writer {writer} these were acknowledged and lost: {told - set(own)!r}."
        )
        kept = [number for number in own if number in told]
        expect(kept == sorted(kept), f"What writer {writer} was told is out of order: {kept!r}.")


def expect_told(heard: Iterable[bytes | None], announced: list[bytes], who: str) -> None:
    """Fail unless ``heard`` has what one announcer announced, in order, or LOST behind what is missing."""
    number = {payload: n for n, payload in enumerate(announced)}
    position, lost = 0, False
    for payload in heard:
        if payload is LOST:
            lost = True
            continue
        n = number.get(payload, -1)
        if n < position:
            continue  # heard again, or of another announcer, or not acknowledged
        expect(
            n == position or lost, f"{who} heard {payload!r}, but neither {announced[position]!r} nor LOST."
        )
        position, lost = n + 1, False
    expect(position == len(announced) or lost, f"{who} heard neither {announced[position:]!r} nor LOST.")


def _appended(process: OtherProcess) -> list[int]:
    return [number for number, _ in process.words("appended")]


def _announced(process: OtherProcess, writer: str) -> list[bytes]:
    return [f"{writer}:{number}".encode() for (number,) in process.words("announced")]


def _until_heard(heard: Heard, payload: bytes | None, who: str) -> None:
    wait_until(lambda: payload in heard(), f"{who} has not heard {'LOST' if payload is LOST else payload!r}.")


def _until_all_hear(trial: Trial, ears: Iterable[Heard]) -> None:
    """Announce something new until everyone has heard some of it: all before it has come, or never will."""
    backend = trial.backend()
    ears = list(ears)
    said = [END]

    def all_heard() -> bool:
        said.append(b"%s %d" % (END, len(said)))
        soon(backend.announce, said[-1])
        return all(set(said) & set(ear()) for ear in ears)

    wait_until(all_heard, "What was announced after all was well again is not heard by all.")


def two_processes(trial: Trial) -> None:
    """Two processes append at once to one stream and announce to each other; all is there, in order."""
    backend, ear = trial.backend(), Ear()
    backend.listen(ear)
    writers = {"a": trial.other(), "b": trial.other()}
    for process in writers.values():
        process.listen()
    count = 150
    for writer, process in writers.items():
        process.start("write", "s", writer, count)
    for process in writers.values():
        process.finish()
    expect_acknowledged(read_all(backend, "s"), {writer: list(range(count)) for writer in writers})
    listeners: dict[str, Heard] = {
        "this process": lambda: ear.heard,
        **{f"process {w}": p.heard for w, p in writers.items()},
    }
    for who, heard in listeners.items():
        for writer in writers:
            sent = [f"{writer}:{n}".encode() for n in range(count)]
            last = sent[-1]
            _until_heard(heard, last, who)
            got = list(dict.fromkeys(only([p for p in heard() if p is not None], writer.encode() + b":")))
            expect(got == sent, f"{who} heard of {writer} {got!r}.")
        expect(LOST not in heard(), f"{who} got LOST although all was well.")


def _restarts(trial: Trial) -> None:
    """Harm the engine in the ways that keep its data."""
    trial.engine.restart()
    time.sleep(RETRY)
    trial.engine.kill()
    time.sleep(10 * RETRY)
    trial.engine.restart()


def appends_across_restarts(trial: Trial) -> None:
    """The engine is killed in the middle of appends: each that was acknowledged is there once, in order."""
    backend = trial.backend()
    end = backend.append("s", [])
    writers = {"a": trial.other(), "b": trial.other()}
    for writer, process in writers.items():
        process.start("write", "s", writer)
    for _ in range(2):
        for process in writers.values():
            process.until("appended", SOME)
        _restarts(trial)
    for process in writers.values():
        process.until("appended", SOME)
    for process in writers.values():
        process.stop()
    items = soon(read_all, backend, "s")
    expect_acknowledged(items, {writer: _appended(process) for writer, process in writers.items()})
    expect(soon(read_all, backend, "s", end) == items, "The first offset leads elsewhere than before.")
    for writer, process in writers.items():
        for number, offset in process.words("appended")[::7]:
            behind = items[items.index(f"{writer}:{number}".encode()) + 1 :]
            got = soon(read_all, backend, "s", offset)
            expect(got == behind, f"Behind {writer}:{number} follows {got[:3]!r}…, not {behind[:3]!r}….")


def folds_across_restarts(trial: Trial) -> None:
    """Writers who append after what they read, again where they were not told: each item is there once."""
    backend = trial.backend()
    backend.append("s", [])
    writers = {"a": trial.other(), "b": trial.other()}
    for writer, process in writers.items():
        process.start("fold", "s", writer)
    for _ in range(2):
        for process in writers.values():
            process.until("folded", SOME // 3)
        _restarts(trial)
    for process in writers.values():
        process.until("folded", SOME // 3)
    for process in writers.values():
        process.stop()
    items = soon(read_all, backend, "s")
    expect_acknowledged(items, {w: [n for n, *_ in p.words("folded")] for w, p in writers.items()})


def announcements_across_restarts(trial: Trial) -> None:
    """Whoever listens while the engine is killed hears all that was acknowledged, or LOST."""
    backend, ear = trial.backend(), Ear()
    backend.listen(ear)
    listener, writer = trial.other(), trial.other()
    listener.listen()
    writer.listen()
    writer.start("write", "s", "a")
    for _ in range(2):
        writer.until("announced", SOME)
        _restarts(trial)
    writer.until("announced", SOME)
    writer.stop()
    ears: dict[str, Heard] = {
        "This process": lambda: ear.heard,
        "Another": listener.heard,
        "The announcer": writer.heard,
    }
    _until_all_hear(trial, ears.values())
    for who, heard in ears.items():
        expect_told(heard(), _announced(writer, "a"), who)


def records_across_a_restart(trial: Trial) -> None:
    """Records have their values and versions after a restart; of these the current one fits alone."""
    backend, other = trial.backend(), trial.backend()
    old = backend.save("r", b"1", version=0)
    current = backend.save("r", b"2", version=old)
    backend.apply([Save("batch", b"whole"), Append("s", [b"whole"])])
    gone = backend.save("gone", b"", version=0)
    backend.delete("gone")
    trial.engine.kill()
    trial.engine.restart()
    for handle in (backend, other):
        found = soon(handle.load, "r")
        expect(
            found and (found.value, found.version) == (b"2", current),
            f"After a restart the record is {found!r}.",
        )
        batch, items = soon(handle.load, "batch"), list(handle.read("s").items)
        expect(batch and items == [b"whole"], f"After a restart of a batch are left {batch!r} and {items!r}.")
        expect(handle.load("gone") is None, "A deleted record is back after a restart.")
    for version in (0, old, gone):
        with refused(Conflict, "Saving against a version from before the current one"):
            soon(backend.save, "r", b"x", version=version)
    expect(soon(other.save, "r", b"3", version=current) > current, "Versions do not grow.")
    expect(soon(backend.save, "gone", b"", version=0) > gone, "A version of a deleted record came again.")


def wiped(trial: Trial) -> None:
    """An engine that was wiped is not taken for the old one: it refuses old offsets and versions."""
    backend, other, ear = trial.backend(), trial.backend(), Ear()
    listener = trial.other()
    listener.listen()
    backend.listen(ear)
    offsets = ["", *(backend.append("s", [b"old %d" % n]) for n in range(5))][1:]
    offsets.append(other.read("s", limit=2).next)
    kept = [backend.append("kept", [b"x"] * 20, keep=3) for _ in range(50)]
    versions = [backend.save("r", b"1", version=0)]
    versions.append(backend.save("r", b"2", version=versions[0]))
    other.announce(b"before")
    ear.until(b"before")
    _until_heard(listener.heard, b"before", "Another")
    trial.engine.restart(wipe=True)
    for handle in (backend, other):
        expect(soon(handle.load, "r") is None, "A record is there that was wiped.")
        expect(soon(handle.scan, "") == [], "Records are scanned that were wiped.")
        with refused(KeyError, "Reading a stream that was wiped"):
            soon(handle.read, "s")
        with refused(KeyError, "Reading after an offset of a stream that was wiped"):
            soon(handle.read, "s", offsets[0])
    _expect_refused(backend, "s", offsets)
    _expect_refused(other, "kept", [kept[0], kept[-1]])
    for version in versions:
        with refused(Conflict, "Saving against a version of a store that was wiped"):
            soon(other.save, "r", b"x", version=version)
    new = [soon(backend.save, "r", b"new", version=0)]
    new.append(soon(other.save, "r", b"newer", version=new[0]))
    expect(not set(versions) & set(new), f"Versions {versions!r} of before the wipe came again: {new!r}.")
    for version in versions:
        with refused(Conflict, "Saving against a version from before the store was wiped"):
            soon(backend.save, "r", b"x", version=version)
    ears: dict[str, Heard] = {"This process": lambda: ear.heard, "Another": listener.heard}
    for who, heard in ears.items():
        _until_heard(heard, LOST, who)
    _until_all_hear(trial, ears.values())


def _expect_refused(backend: Backend, stream: str, offsets: Iterable[str]) -> None:
    """Fail if an offset from before the wipe fits, where there is no stream or where there is a new one."""
    for after in offsets:
        with refused(Conflict, "Appending after an offset from before the wipe, where there is no stream"):
            soon(backend.append, stream, [b"x"], after=after)
    soon(backend.apply, [Append(stream, [b"new"] * 100)])
    for after in offsets:
        with refused(ValueError, "Reading after an offset from before the wipe"):
            soon(backend.read, stream, after)
        with refused(Conflict, "Appending after an offset from before the wipe"):
            soon(backend.append, stream, [b"x"], after=after)
    expect(
        set(soon(read_all, backend, stream)) == {b"new"},
        "A stream made after the wipe has other items.",
    )


def paused(trial: Trial) -> None:
    """Calls to a silent engine end with BackendUnavailable; when it goes on, so does all else."""
    backend, ear = trial.backend(), Ear()
    backend.listen(ear)
    other = trial.other()
    other.listen()
    backend.append("s", [b"a:0"])
    backend.announce(b"a:0")
    ear.until(b"a:0")
    ended: list[str] = []

    def call(what: str, function: Callable[[], object]) -> None:
        try:
            function()
        except BackendUnavailable:
            ended.append(what)

    trial.engine.pause()
    try:
        at_once(
            lambda: call("append", lambda: backend.append("s", [b"a:1"])),
            lambda: call("save", lambda: backend.save("r", b"", version=0)),
            lambda: call("announce", lambda: backend.announce(b"a:1")),
            lambda: call("read", lambda: backend.read("s")),
            lambda: call("probe", backend.probe),
            patience=SILENCE,
        )
    finally:
        trial.engine.resume()
    expect({"append", "save"} <= set(ended), f"While the engine was silent only these raised: {ended!r}.")
    soon(backend.probe)
    soon(backend.apply, [Save("after", b"", None)])
    appended = [0]
    for n in range(2, 10):
        try:
            backend.append("s", [b"a:%d" % n])
            appended.append(n)
        except BackendUnavailable:
            time.sleep(RETRY)
    expect_acknowledged(soon(read_all, backend, "s"), {"a": appended})
    _until_all_hear(trial, [lambda: ear.heard, other.heard])
    for who, heard in (("This process", ear.heard), ("Another", other.heard())):
        expect_told(heard, [b"a:0"], who)


def killed_writer(trial: Trial) -> None:
    """A process that is killed while it writes harms no other and leaves nothing locked."""
    backend, ear = trial.backend(), Ear()
    backend.listen(ear)
    killed, other = trial.other(), trial.other()
    killed.listen()
    killed.start("write", "s", "killed")
    other.start("write", "s", "other")
    killed.until("appended", SOME)
    killed.kill()
    other.until("appended", SOME)
    other.stop()
    writers = {"killed": killed, "other": other}
    expect_acknowledged(
        read_all(backend, "s"), {name: _appended(process) for name, process in writers.items()}
    )
    _until_all_hear(trial, [lambda: ear.heard])
    for name, process in writers.items():
        expect_told(ear.heard, _announced(process, name), "This process")


CHECKS: tuple[EngineCheck, ...] = (
    two_processes,
    appends_across_restarts,
    folds_across_restarts,
    announcements_across_restarts,
    records_across_a_restart,
    wiped,
    paused,
    killed_writer,
)
