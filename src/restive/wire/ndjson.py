"""Newline-delimited JSON: an object a line; an empty line only shows that the connection lives."""

from __future__ import annotations

__all__ = ["EMPTY", "Splitter", "line"]

EMPTY = b"\n"
"""What an idle connection sends."""


def line(obj: bytes) -> bytes:
    """``obj`` (compact JSON) as a line. Raises ``ValueError`` where it is more than one."""
    if b"\n" in obj:
        raise ValueError("JSON with a newline in it is not one line.")
    return obj + b"\n"


class Splitter:
    """Cuts a byte stream into its lines. ``max_line`` is in bytes."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._pieces: list[bytes] = []  # of the line begun; joined once, so that time stays linear
        self._length = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes: without their ends, the empty ones left out.

        Raises ``ValueError`` as soon as a line is longer than ``max_line``; the splitter is then spent.
        """
        *ends, rest = data.split(b"\n")
        found = [self._complete(end) for end in ends]
        self._add(rest)
        return [text for text in found if text]

    def _complete(self, end: bytes) -> bytes:
        self._add(end)
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self._length = 0
        return whole.removesuffix(b"\r")

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > self._max_line:
            raise ValueError(f"A line is longer than {self._max_line} bytes.")
        if piece:
            self._pieces.append(piece)
