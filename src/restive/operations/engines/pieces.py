"""An ``op.map`` of a worker process as the server's threads see it: work of which they may take a piece.

A piece is pulled only once somebody is free to work on it; the function and its item pass through the server
as bytes. A piece that was not begun goes back, so that its caller works on it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .messages import Done, Piece, Pull
from .threads import Threads

if TYPE_CHECKING:
    from .attending import Call

__all__ = ["Helping"]

PATIENCE = 1.0
"""Seconds within which a worker hands out a piece; it may be stopped, or about to end."""

Pulling = Callable[[], Piece | None]
Work = Callable[["Call", Pulling], tuple[int, bytes | None] | None]
"""Gives the ticket of a piece and its pickled (result, error), which is None where it was not begun."""

_tickets = itertools.count(1)


class Helping:
    """One mapping of ``call``. ``work`` gets what pulls a piece, and gives back what became of it."""

    def __init__(self, call: Call, mapping: int, threads: Threads, work: Work) -> None:
        self._call, self._mapping = call, mapping
        self._threads, self._work = threads, work
        self._changed = threading.Condition()
        self._asked: dict[int, Piece | None] = {}
        self._shares = 0
        self._over = False

    def share(self, pieces: int) -> None:
        """So many more pieces wait for help."""
        self._shares += 1
        self._threads.share(self, pieces)

    def end(self) -> None:
        """The mapping is over."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._threads.unshare(self)

    def help(self) -> bool:
        """Work on one piece; false where there is none."""
        shares = self._shares
        worked = self._work(self._call, self._pull)
        if worked is None:
            return shares != self._shares and not self._over
        ticket, done = worked
        if self._call.worker is not None:
            self._call.worker.send(Done(self._call.number, self._mapping, ticket, done))
        return True

    def _pull(self) -> Piece | None:
        worker, ticket = self._call.worker, next(_tickets)
        if worker is None:
            return None
        with self._changed:
            if self._over:
                return None
            self._asked[ticket] = None
        worker.send(Pull(self._call.number, self._mapping, ticket))
        with self._changed:
            self._changed.wait_for(lambda: self._asked[ticket] is not None or self._over, PATIENCE)
            piece = self._asked.pop(ticket)
        return None if piece is None or piece.data is None else piece

    def came(self, piece: Piece) -> bool:
        """The answer to a pull; false where nobody waits for it any more."""
        with self._changed:
            if piece.ticket not in self._asked:
                return False
            self._asked[piece.ticket] = piece
            self._changed.notify_all()
            return True
