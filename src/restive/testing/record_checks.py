"""What the port promises of records, as checks that any backend can be put through."""

from __future__ import annotations

import random

from restive.backends.limits import MAX_VALUE
from restive.backends.port import Backend, Delete, Record, Save
from restive.errors import Conflict

from .name_checks import BAD_NAMES, ODD_NAMES
from .stores import Check, Stores, at_once, expect, refused

__all__ = ["CHECKS"]


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
    """A deleted record is gone; one made again under its name has greater versions, every time."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    old = backend.save("r", b"old", version=0)
    for round_ in range(5):
        deleting, making = (backend, peer) if round_ % 2 else (peer, backend)
        deleting.delete("r")
        deleting.delete("r")
        expect(making.load("r") is None, "A deleted record is still there.")
        with refused(Conflict, "Saving against a version of a deleted record"):
            making.save("r", b"x", version=old)
        new = making.save("r", b"new", version=0)
        expect(new > old, f"A record of version {old} was deleted, and made again with version {new}.")
        with refused(Conflict, "Saving against a version of the record's predecessor"):
            making.save("r", b"x", version=old)
        with refused(Conflict, "Deleting a version of the record's predecessor"):
            making.apply([Delete("r", old)])
        old = new


def made_again_in_a_batch(stores: Stores) -> None:
    """Versions grow where one batch deletes a record and makes it again, and where it saves what it made."""
    backend = stores.fresh()
    old = backend.save("r", b"old", version=0)
    for _ in range(3):
        done = backend.apply(
            [Delete("r", old), Save("r", b"1"), Delete("r"), Save("r", b"2"), Save("r", b"3", None)]
        )
        versions = [result for result in done if isinstance(result, int)]
        expect(len(versions) == 3, f"Three Saves returned {versions!r}.")
        expect([old, *versions] == sorted({old, *versions}), f"Versions after {old} are {versions!r}.")
        old = versions[-1]
        expect(backend.load("r") == Record("r", b"3", old), f"The record is {backend.load('r')!r}.")


def many_scanned_in_pages(stores: Stores) -> None:
    """A thousand records are scanned page by page, each once."""
    backend = stores.fresh()
    held = [f"many/{n:04d}" for n in range(1000)]
    for start in range(0, len(held), 250):
        backend.apply([Save(name, name.encode(), None) for name in held[start : start + 250]])
    backend.apply([Save("many", b"", None), Save("many0", b"", None)])
    found: list[str] = []
    while page := backend.scan("many/", before=found[-1] if found else None, limit=300):
        expect(all(record.value == record.name.encode() for record in page), "A value is another record's.")
        found += [record.name for record in page]
        expect(len(found) <= len(held), "Scanning page by page does not end.")
    expect(found == held[::-1], f"Scanned page by page, {len(held)} records are {len(found)}.")


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


CHECKS: tuple[Check, ...] = (
    save_and_load,
    versions,
    deleted_and_made_again,
    made_again_in_a_batch,
    compare_and_set_at_once,
    scans,
    many_scanned_in_pages,
    random_walks,
)
