"""Merges what was counted in the chunks of a file, in whatever order they are ready."""

from __future__ import annotations

from dataclasses import dataclass

from .counting import Counts, Tally, joined
from .frequencies import Frequencies, WordCount

__all__ = ["Digest", "Merge"]

TOP = 20


@dataclass(frozen=True)
class Digest:
    """The result: what ``LC_ALL=C wc`` counts, and the most frequent words.

    A count in ``top`` is at most ``top_error`` too low; 0 says that they are exact.
    """

    name: str
    bytes: int
    lines: int
    words: int
    chunks: int
    top: list[WordCount]
    top_error: int


class Merge:
    """Takes the counts of each chunk; its memory grows with the number of chunks only."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tallies: list[tuple[int, Tally]] = []
        self._frequencies = Frequencies(limit=100_000)

    def add(self, counts: Counts) -> None:
        """Take one chunk's counts."""
        self._tallies.append((counts.chunk, counts.tally))
        self._frequencies.merge(counts.frequencies)

    def digest(self) -> Digest:
        """The counts of all chunks taken so far."""
        total = joined(self._tallies)
        return Digest(
            name=self._name,
            bytes=total.bytes,
            lines=total.lines,
            words=total.words,
            chunks=len(self._tallies),
            top=self._frequencies.top(TOP),
            top_error=self._frequencies.error,
        )
