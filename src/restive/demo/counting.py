"""Counts lines, words and the most frequent words of a file of any size, chunk by chunk.

A chunk is a range of a file, cut at a line end where one is near; ``count_words`` reads it block by
block, so memory depends neither on the file's size nor on its lines. Words are what the C locale's
``wc`` of GNU coreutils counts: runs without white space that hold at least one printable ASCII
character. Tallies of neighbours join to the tally of the whole wherever the cut was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .frequencies import LONGEST, Frequencies

__all__ = ["BLOCK", "Chunk", "Counts", "Tally", "count_words", "joined", "split", "tally"]

BLOCK = 128 * 1024
"""Bytes that are read and counted at once: small enough for the processor's cache."""

LEAST, MOST, PARTS = 1 << 20, 64 << 20, 64
"""A chunk has at least and at most so many bytes; between them a file has about ``PARTS`` chunks."""

NEAR = 64 * 1024
"""How far behind its planned place a cut looks for a line end, then for a space."""

SPACE = b" \t\n\r\x0b\x0c"
SPACES = [bytes([space]) for space in SPACE]
PRINTABLE = bytes(range(0x21, 0x7F))
UNPRINTABLE = bytes(set(range(256)) - set(PRINTABLE) - set(SPACE))

# How the run of non-space bytes at an edge counts so far: there is none, it is no word yet, it is a word.
NONE, BLANK, WORD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes ``start`` to ``end`` (exclusive) of the file at ``path``."""

    number: int
    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted in a stretch of bytes, and what is needed to join it to its neighbours."""

    bytes: int = 0
    lines: int = 0
    words: int = 0
    head: int = NONE
    tail: int = NONE
    solid: bool = True
    """No white space at all: head and tail are one run."""

    def __add__(self, other: Tally) -> Tally:
        """The tally of this stretch with ``other`` right behind it; a word cut in two is one word."""
        return Tally(
            bytes=self.bytes + other.bytes,
            lines=self.lines + other.lines,
            words=self.words + other.words - (self.tail == other.head == WORD),
            head=max(self.head, other.head) if self.solid else self.head,
            tail=max(self.tail, other.tail) if other.solid else other.tail,
            solid=self.solid and other.solid,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """What ``count_words`` found in one chunk."""

    chunk: int
    offset: int
    tally: Tally
    frequencies: Frequencies = field(default_factory=Frequencies)

    def document(self, top: int = 20) -> dict[str, object]:
        """What is published of a chunk: its counts and its ``top`` most frequent words."""
        return {
            "chunk": self.chunk,
            "offset": self.offset,
            "bytes": self.tally.bytes,
            "lines": self.tally.lines,
            "words": self.tally.words,
            "top": self.frequencies.top(top),
            "top_error": self.frequencies.error,
        }


def split(path: str | Path, size: int | None = None) -> list[Chunk]:
    """The chunks of a file, in order, without reading it but near the cuts.

    ``size`` is the planned size of a chunk in bytes; by default it grows with the file.
    """
    length = os.stat(path).st_size
    step = size or min(MOST, max(LEAST, -(-length // PARTS)))
    chunks: list[Chunk] = []
    with open(path, "rb", buffering=0) as file:
        start = 0
        while start < length:
            end = _cut(file, start + step, length)
            chunks.append(Chunk(len(chunks), str(path), start, end))
            start = end
    return chunks


def _cut(file: BinaryIO, planned: int, length: int) -> int:
    """The first line end at or behind ``planned``; none near: the first space; none: ``planned``."""
    if planned >= length:
        return length
    file.seek(planned - 1)
    near = file.read(NEAR)
    for end in (b"\n", b" "):
        found = near.find(end)
        if found >= 0:
            return planned + found
    return min(planned, length)


def count_words(chunk: Chunk) -> Counts:
    """Count one chunk. Runs in any thread or process; it needs nothing but the file."""
    total, frequencies = Tally(), Frequencies()
    for block in _blocks(chunk):
        words = block.split()
        here = tally(block, words)
        # The rest of a word that the block before began is no word of its own.
        torn = total.tail and here.head
        frequencies.add(_listed(words[1:] if torn else words, len(block)))
        total += here
    frequencies.trim()
    return Counts(chunk.number, chunk.start, total, frequencies)


def _listed(words: list[bytes], size: int) -> list[bytes]:
    """Without words too long to be listed, where the average says that many may fill the table."""
    return words if size < 16 * len(words) else [word for word in words if len(word) <= LONGEST]


def _blocks(chunk: Chunk) -> Iterator[bytes]:
    """The chunk's bytes in pieces of about ``BLOCK``, cut behind white space where there is any."""
    with open(chunk.path, "rb", buffering=0) as file:
        file.seek(chunk.start)
        left, rest = chunk.end - chunk.start, b""
        while left > 0 and (read := file.read(min(BLOCK, left))):
            left -= len(read)
            block = rest + read
            cut = _last_space(block) if left else len(block)
            yield block[:cut]
            rest = block[cut:]
        if rest:
            yield rest


def _last_space(block: bytes) -> int:
    """Behind the last line end, else behind the last white space, else the end of the block."""
    line = block.rfind(b"\n") + 1
    return line or max(block.rfind(space) for space in SPACES) + 1 or len(block)


def tally(block: bytes, words: list[bytes]) -> Tally:
    """The tally of ``block``, of which ``words`` are the runs without white space."""
    count = len(words)
    if block.translate(None, PRINTABLE + SPACE):
        count = len(block.translate(None, UNPRINTABLE).split())
    head = _run(words[0]) if words and block[0] not in SPACE else NONE
    tail = _run(words[-1]) if words and block[-1] not in SPACE else NONE
    solid = len(words) == 1 and bool(head) and bool(tail)
    return Tally(len(block), block.count(b"\n"), count, head, tail, solid or not block)


def _run(run: bytes) -> int:
    return WORD if run.translate(None, UNPRINTABLE) else BLANK


def joined(counts: Iterable[tuple[int, Tally]]) -> Tally:
    """The tally of all chunks, given as (number, tally) in any order."""
    return sum((each for _, each in sorted(counts, key=lambda pair: pair[0])), Tally())
