"""How often each word occurs, in a table of bounded size.

Beyond ``limit`` entries the rarest are dropped, down to a quarter. What a word may have lost by that
is added up in ``error``: no count is ever too high, and none is more than ``error`` too low. So an
``error`` of 0 says that all counts are exact. Tables merge, and their errors add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["LONGEST", "Frequencies", "WordCount"]

LONGEST = 64
"""Bytes of the longest word that is listed; longer ones are no words in any useful sense."""


@dataclass(frozen=True)
class WordCount:
    """A word and how often it was found."""

    word: str
    count: int


class Frequencies:
    """A bounded table of words and their counts."""

    __slots__ = ("counts", "error", "limit")

    def __init__(self, limit: int = 20_000) -> None:
        self.limit = limit
        self.error = 0
        self.counts: Counter[bytes] = Counter()

    def add(self, words: Iterable[bytes]) -> None:
        """Count ``words``, one occurrence each."""
        self.counts.update(words)
        if len(self.counts) > self.limit:
            self._drop_rarest()

    def merge(self, other: Frequencies) -> None:
        """Add the counts of ``other``, which stays as it is."""
        mine, error = self.counts, other.error
        for word, count in other.counts.items():
            mine[word] = mine.get(word, 0) + count
        self.error += error
        if len(mine) > self.limit:
            self._drop_rarest()

    def trim(self) -> None:
        """Drop words too long to be listed, and the rarest until a quarter of ``limit`` is left."""
        if max(map(len, self.counts), default=0) > LONGEST:
            self.counts = Counter({word: n for word, n in self.counts.items() if len(word) <= LONGEST})
        if len(self.counts) > self.limit // 4:
            self._drop_rarest()

    def _drop_rarest(self) -> None:
        """Keep at most a quarter of ``limit``. Most words of most texts occur once, so those go first."""
        rarest = 1
        kept = {word: count for word, count in self.counts.items() if count > rarest}
        few = self.limit // 4
        if len(kept) > few:
            rarest = sorted(kept.values())[-few - 1]
            kept = {word: count for word, count in kept.items() if count > rarest}
        self.error += rarest
        self.counts = Counter(kept)

    def top(self, most: int) -> list[WordCount]:
        """The ``most`` frequent words, the most frequent first; equal ones in the order of their bytes."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:most]
        return [WordCount(word.decode("utf-8", "backslashreplace"), count) for word, count in ranked]
