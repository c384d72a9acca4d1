"""What operations keep on disk: scratch folders, uploads, long results, and parts with their descriptions.

One folder for each operation, made when first needed. A part's file has the digest of its name as its own,
so that no name can reach another place. While it is written it ends in ``.open``; the rename that takes
this away is the moment at which it is finished.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..errors import Problem

__all__ = ["Files", "Part", "check_part_name"]

LONGEST_NAME = 255
COPY_CHUNK = 1 << 20


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """The description of a part. ``digest`` has the form of RFC 9530 and is empty while it is written."""

    name: str
    type: str
    size: int = 0
    digest: str = ""

    @property
    def tag(self) -> str:
        """Its strong ETag."""
        return f'"{self.digest.removeprefix("sha-256=").strip(":").rstrip("=")}"'


class Files:
    """The folders of all operations below ``home``."""

    def __init__(self, home: Callable[[], Path]) -> None:
        self._home = home

    def root(self) -> Path:
        """What holds them all."""
        return self._home() / "operations"

    def folder(self, identity: str) -> Path:
        """Everything that belongs to one operation."""
        return self.root() / identity

    def scratch(self, identity: str) -> Path:
        """The ``op.folder`` of one operation, made if need be."""
        return _made(self.folder(identity) / "work")

    def upload(self, identity: str, number: int, filename: str) -> Path:
        """Where an upload is kept; of the client's name only a harmless suffix is used."""
        suffix = Path(filename.replace("\0", "")).suffix
        kept = suffix if 1 < len(suffix) <= 16 and suffix[1:].isalnum() and suffix.isascii() else ""
        return _made(self.scratch(identity) / "uploads") / f"{number}{kept}"

    def result(self, identity: str) -> Path:
        """Where a long result is kept."""
        return self.folder(identity) / "result.json"

    def write_result(self, identity: str, data: bytes) -> None:
        """Keep a long result."""
        _made(self.folder(identity))
        _replace(self.result(identity), data)

    def remove(self, identity: str) -> None:
        """Remove all of it; no error where there is nothing."""
        folder = self.folder(identity)
        for _ in range(3):  # a function that still runs may write into it meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                return

    # Parts

    def open_part(self, identity: str, part: Part) -> tuple[int, Path]:
        """Begin a part: a file descriptor to write to, and its path.

        Raises ``FileExistsError`` where there is one of that name, finished or not.
        """
        path = self._part(identity, part.name)
        _made(path.parent)
        if path.exists():
            raise FileExistsError(part.name)
        writing = path.with_suffix(".open")
        descriptor = os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _replace(path.with_suffix(".json"), msgspec.json.encode(part))
        return descriptor, writing

    def finish_part(self, identity: str, part: Part) -> None:
        """Its bytes are complete and described by ``part``. Raises ``FileNotFoundError`` once removed."""
        path = self._part(identity, part.name)
        _replace(path.with_suffix(".json"), msgspec.json.encode(part))
        path.with_suffix(".open").rename(path)

    def abandon_part(self, identity: str, name: str) -> None:
        """It will not be finished: its readers are cut."""
        path = self._part(identity, name)
        path.with_suffix(".open").unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)

    def part(self, identity: str, name: str) -> tuple[Part, Path] | None:
        """A part and the file of its bytes, which ends in ``.open`` while it is written."""
        path = self._part(identity, name)
        for _ in range(2):
            found = path if path.exists() else path.with_suffix(".open")
            try:
                part = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Part)
            except FileNotFoundError:
                return None
            if found.exists():
                return part, found
        return None

    def _part(self, identity: str, name: str) -> Path:
        return self.folder(identity) / "parts" / hashlib.sha256(name.encode()).hexdigest()[:40]


def check_part_name(name: object) -> str:
    """``name``, where a part can have it. Raises ``Problem`` (422) that says what is wrong with it."""
    if not isinstance(name, str):
        raise _bad_name(f"it is text, not {type(name).__name__}")
    if not name or name in {".", ".."}:
        raise _bad_name(f"{name!r} names no file")
    if "/" in name or "\\" in name:
        raise _bad_name("it holds no slash or backslash")
    if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in name):
        raise _bad_name("it holds no control characters")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise _bad_name("it is valid Unicode") from None
    if length > LONGEST_NAME:
        raise _bad_name(f"it has at most {LONGEST_NAME} bytes, not {length}")
    return name


def _bad_name(why: str) -> Problem:
    return Problem(422, "This is no name of a part", f"A part's name is the last segment of its URL: {why}.")


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
