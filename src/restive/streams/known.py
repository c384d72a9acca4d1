"""The state of a stream's writers as one process knows it: read from the last snapshot on, kept up to date.

A snapshot is saved before any item that it stands for is dropped, and only by who knows the one before it, so
that snapshots never go back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ..backends.port import Backend, Save, Trimmed
from ..errors import BackendUnavailable
from .items import unpack
from .lives import Found, snapshot_of
from .producers import Snapshot, State

__all__ = ["Known", "Reader"]

PAGE = 1000
"""Items in one page of a fold."""

TRIES = 20
"""How often a log is read from its snapshot because others drop items meanwhile."""

SNAPSHOT_ITEMS, SNAPSHOT_BYTES = 1000, 4 * 1024 * 1024
"""What at most has to be read again, beyond the last snapshot, to know the state."""

KEPT_ITEMS = 64
"""The same for a stream that drops items; so many more than were asked for may stay."""

SNAPSHOT = msgspec.json.Decoder(Snapshot)


@dataclass(slots=True)
class Known:
    """The state of one life at an offset."""

    life: str
    state: State
    offset: str
    read: int = 0
    """Bytes of items since the last snapshot."""
    saved: int = 0
    """Items that the last snapshot stands for, at least."""
    version: int | None = 0
    """Of the last snapshot's record; None: it may have changed."""


class Reader:
    """Makes ``Known`` and keeps it up to date. All methods block."""

    def __init__(self, backend: Callable[[], Backend], producers: int) -> None:
        self._backend = backend
        self.producers = producers

    def load(self, found: Found) -> Known | None:
        """The state at the end of the log; None where there is no such log."""
        for _ in range(TRIES):
            known = self._saved(found)
            try:
                self.read_on(known, found)
            except KeyError:
                return None
            except Trimmed:  # another process has saved a later snapshot and dropped what it stands for
                continue
            except ValueError:  # the store has lost what the snapshot stands for
                known = Known(found.life.id, State(), "", version=known.version)
                self.read_on(known, found)
            return known
        raise BackendUnavailable(f"The stream at {found.life.path} drops items faster than they can be read.")

    def _saved(self, found: Found) -> Known:
        record = self._backend().load(snapshot_of(found.key, found.life.id))
        if record is None:
            return Known(found.life.id, State(), "")
        try:
            snapshot = SNAPSHOT.decode(record.value)
        except msgspec.DecodeError as error:
            raise BackendUnavailable(f"A snapshot of {found.life.path} cannot be read: {error}") from error
        return Known(found.life.id, snapshot.state(), snapshot.offset, 0, snapshot.count, record.version)

    def read_on(self, known: Known, found: Found) -> None:
        """Take in what was appended since. Raises what ``Backend.read`` does."""
        while True:
            page = self._backend().read(found.log, known.offset, PAGE)
            for number, stored in enumerate(page.items):
                item = unpack(stored)
                if not number and not known.offset and not item.first:
                    raise Trimmed("The first items were dropped.")
                known.state.fold(item, self.producers)
                known.read += len(stored)
            known.offset = page.next
            known.state.closed = known.state.closed or page.closed
            if page.up_to_date:
                return

    def snapshot(self, known: Known, found: Found, count: int) -> tuple[Save | None, int]:
        """What saves the state, where it is time; and how many items to keep of then ``count``, 0 for all.

        Items are dropped only where the last snapshot stands for them.
        """
        keep = found.life.keep
        save = None
        if self._is_due(known, keep):
            if known.version is None:
                self._see_saved(known, found)
            if self._is_due(known, keep):
                save = self._save(known, found)
        saved = known.state.count if save else known.saved
        return save, keep if saved >= count - keep else 0

    def _save(self, known: Known, found: Found) -> Save:
        value = msgspec.json.encode(Snapshot.of(known.state, known.offset))
        return Save(snapshot_of(found.key, found.life.id), value, known.version)

    def _is_due(self, known: Known, keep: int) -> bool:
        behind = known.state.count - known.saved
        return behind >= (min(SNAPSHOT_ITEMS, max(KEPT_ITEMS, keep // 8)) if keep else SNAPSHOT_ITEMS) or (
            behind > 0 and known.read >= SNAPSHOT_BYTES
        )

    def _see_saved(self, known: Known, found: Found) -> None:
        saved = self._saved(found)
        known.saved, known.version, known.read = saved.saved, saved.version, 0
