"""What the port promises of records and of names, as checks that any backend can be put through."""

from __future__ import annotations

import random

from restive.backends.limits import MAX_NAME, MAX_VALUE
from restive.backends.port import Backend, Record
from restive.errors import Conflict

from .stores import Check, Stores, at_once, expect, refused

__all__ = ["CHECKS"]

ODD_NAMES = (
    *(
        "a",
        "A",
        "a ",
        " a",
        "ä",
        "a\u0308",
        "\0",
        "a\0b",
        "a\0",
        "a/b",
        "a.b",
        "a.*",
        ">",
        "*",
        "%",
        "_",
        "?",
    ),
    *(
        "a%",
        "a_",
        "'",
        '"',
        "\\",
        "a:b",
        "[a]",
        "\n",
        "\ud7ff",
        "\ue000",
        "\uffff",
        "\U0001f600",
        "\U0010ffff",
    ),
    *("\U0010ffffa", "$SYS", "../a", "a" * MAX_NAME, "\U0001f600" * (MAX_NAME // 4), "-1", "0", "00", "NULL"),
)
BAD_NAMES = ("", "a" * (MAX_NAME + 1), "ä" * (MAX_NAME // 2) + "a", "\ud800", "a\udfff")


def save_and_load(stores: Stores) -> None:
    """A saved value comes back with the version that save returned, to this handle and to a peer."""
    backend = stores.fresh()
    expect(backend.load("r") is None, "A record that was never saved is there.")
    version = 0
    for value in (b"", bytes(range(256)), bytes(MAX_VALUE)):
        version = backend.save("r", value, version=version)
        for handle in (backend, stores.peer(backend)):
            expect(handle.load("r") == Record("r", value, version), "A record does not load as it was saved.")
    with refused(ValueError, "A value of more than 1 MiB"):
        backend.save("r", bytes(MAX_VALUE + 1), version=version)


def versions(stores: Stores) -> None:
    """Versions grow; a save against any but the current one is a Conflict and changes nothing."""
    backend = stores.fresh()
    with refused(Conflict, "Saving version 1 of a record that is not there"):
        backend.save("r", b"x", version=1)
    seen = [backend.save("r", b"0", version=0)]
    for n in range(1, 5):
        seen.append(backend.save("r", b"%d" % n, version=seen[-1]))
    expect(0 not in seen and seen == sorted(set(seen)), f"Versions do not grow: {seen!r}.")
    for wrong in (0, *seen[:-1], seen[-1] + 1, -1):
        with refused(Conflict, f"Saving against version {wrong} when {seen[-1]} is current"):
            backend.save("r", b"wrong", version=wrong)
    expect(backend.load("r") == Record("r", b"4", seen[-1]), "A refused save changed the record.")


def deleted_and_made_again(stores: Stores) -> None:
    """A deleted record is gone; no version of it fits a record made again under its name."""
    backend = stores.fresh()
    old = backend.save("r", b"old", version=0)
    backend.delete("r")
    backend.delete("r")
    expect(backend.load("r") is None, "A deleted record is still there.")
    with refused(Conflict, "Saving against a version of a deleted record"):
        backend.save("r", b"x", version=old)
    new = backend.save("r", b"new", version=0)
    expect(new != old, "A record made again got the version of the deleted one.")
    with refused(Conflict, "Saving against a version of the record's predecessor"):
        backend.save("r", b"x", version=old)


def compare_and_set_at_once(stores: Stores) -> None:
    """Of saves at once against one version one succeeds: a counter loses no increment."""
    backend = stores.fresh()
    handles = [backend, stores.peer(backend), backend, stores.peer(backend)]
    backend.save("counter", b"0", version=0)

    def increment(handle: Backend) -> None:
        for _ in range(25):
            while True:
                found = handle.load("counter")
                expect(found is not None, "The record vanished while it was saved.")
                if found is None:
                    return
                try:
                    handle.save("counter", b"%d" % (int(found.value) + 1), version=found.version)
                    break
                except Conflict:
                    continue

    at_once(*(lambda handle=handle: increment(handle) for handle in handles))
    final = backend.load("counter")
    expect(final is not None and final.value == b"100", f"100 increments made {final!r}.")


def names(stores: Stores) -> None:
    """Names of any characters are kept apart and sort by code point; what is no name is refused."""
    backend = stores.fresh()
    for name in ODD_NAMES:
        backend.save(name, name.encode(), version=0)
        backend.append(name, [name.encode()])
    for name in ODD_NAMES:
        found = backend.load(name)
        expect(found is not None and found.value == name.encode(), f"The record {name!r} holds {found!r}.")
        items = list(backend.read(name).items)
        expect(items == [name.encode()], f"The stream {name!r} holds {items!r}.")
    scanned = [record.name for record in backend.scan("", limit=1000)]
    expect(scanned == sorted(ODD_NAMES, reverse=True), f"Names are scanned as {scanned!r}.")


def bad_names(stores: Stores) -> None:
    """An empty or over-long name, or one with a lone surrogate, is refused everywhere."""
    backend = stores.fresh()
    for name in BAD_NAMES:
        what = f"The name {name[:8]!r} of {len(name)} characters"
        for call in (backend.load, backend.delete, backend.read, backend.drop):
            with refused(ValueError, what):
                call(name)
        with refused(ValueError, what):
            backend.save(name, b"", version=0)
        with refused(ValueError, what):
            backend.append(name, [b""])


def scans(stores: Stores) -> None:
    """A scan gives the records of a prefix, names descending, below ``before``, ``limit`` at most."""
    backend = stores.fresh()
    held = sorted({*ODD_NAMES, *(f"ops/{n:03d}" for n in range(20)), "ops", "ops0", "opt"})
    for name in held:
        backend.save(name, name.encode(), version=0)
    for prefix in ("", "ops", "ops/", "ops/01", "a", "a\0", "%", "\ud7ff", "\U0010ffff", "nothing"):
        for before in (None, "ops/010", "", "\U0010ffff", "a"):
            for limit in (1, 7, 1000):
                matching = [n for n in held if n.startswith(prefix) and (before is None or n < before)]
                expected = matching[::-1][:limit]
                found = backend.scan(prefix, before=before, limit=limit)
                what = f"scan({prefix!r}, before={before!r}, limit={limit})"
                expect([r.name for r in found] == expected, f"{what} gives {found!r}, not {expected!r}.")
                expect(all(r == backend.load(r.name) for r in found[:2]), f"{what} and load do not agree.")
    for before in BAD_NAMES[1:]:
        with refused(ValueError, f"before={before[:8]!r}…"):
            backend.scan("", before=before)
    with refused(ValueError, "limit=0"):
        backend.scan("", limit=0)


def random_walks(stores: Stores) -> None:
    """Any sequence of calls leaves what a dict would hold; one seed, one sequence."""
    for seed in range(3):
        backend, rng = stores.fresh(), random.Random(seed)  # noqa: S311 - to repeat, not to hide
        handles = (backend, stores.peer(backend))
        model: dict[str, Record] = {}
        for step in range(100):
            name, value = f"r{rng.randrange(6)}", rng.randbytes(rng.randrange(20))
            _step(rng.choice(handles), model, rng.randrange(4), name, value)
            found = rng.choice(handles).scan("r")
            expected = sorted(model.values(), key=lambda r: r.name, reverse=True)
            expect(
                found == expected, f"Seed {seed}, step {step}: {expected!r} is held, {found!r} is scanned."
            )


def _step(backend: Backend, model: dict[str, Record], call: int, name: str, value: bytes) -> None:
    if call == 0:
        backend.delete(name)
        model.pop(name, None)
        return
    current = model[name].version if name in model else 0
    if call == 1:
        with refused(Conflict, "Saving against a version that is not the current one"):
            backend.save(name, value, version=current + 1)
        return
    model[name] = Record(name, value, backend.save(name, value, version=current))


def close_and_open_again(stores: Stores) -> None:
    """After ``close`` the next call opens anew; a shared store has kept everything."""
    backend = stores.fresh()
    version = backend.save("r", b"value", version=0)
    end = backend.append("s", [b"item"])
    backend.close()
    found = backend.load("r")
    if not backend.shared:
        expect(found in {None, Record("r", b"value", version)}, f"After close the record is {found!r}.")
        return
    expect(found == Record("r", b"value", version), f"After close the record is {found!r}.")
    expect(backend.read("s").next == end, "After close the stream has another end.")


CHECKS: tuple[Check, ...] = (
    save_and_load,
    versions,
    deleted_and_made_again,
    compare_and_set_at_once,
    names,
    bad_names,
    scans,
    random_walks,
    close_and_open_again,
)
