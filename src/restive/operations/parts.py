"""The parts of one operation on disk: written in a folder of their own, finished by one rename of it.

``<digest of the name>.<lease number>.open/`` holds the bytes (``data``) and their description while the run
with that lease writes them; renamed to ``<digest of the name>/`` the part is finished. The rename is
exclusive, so the first to finish a name wins, and it takes bytes and description together. The folders of an
older lease are removed when a new one begins, after which no late writer of it can finish anything.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import Problem
from .depot import Depot
from .disk import made, removed, replace, sync, sync_folder

__all__ = ["Found", "Part", "PartFolder", "check_part_name"]

LONGEST_NAME = 255
DATA, ABOUT, JUNK = "data", "about.json", ".gone"
JOINERS = "\u200c\u200d"
"""Format characters that words and emoji are made with."""


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """The description of a part. ``digest`` has the form of RFC 9530 and is empty while it is written."""

    name: str
    type: str
    size: int = 0
    digest: str = ""
    run: int = 0
    """The number of the lease under which its bytes came into a depot, where any machine can read them."""

    @property
    def tag(self) -> str:
        """Its strong ETag."""
        return f'"{self.digest.removeprefix("sha-256=").strip(":").rstrip("=")}"'


class _About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``about.json`` says: the part, who wrote it, and its key where the bytes are in a depot."""

    part: Part
    number: int
    key: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A part that can be read."""

    part: Part
    number: int
    """The lease under which it was written."""
    finished: bool
    key: str
    """Its key in the depot; empty where the bytes are in the state folder."""
    path: Path | None
    """The file of its bytes, where this machine's file system has it."""
    folder: Path | None = None
    """Where its description lies, if on this machine."""

    def stands(self) -> bool:
        """Whether the part, open when it was found or not, is finished and was not removed."""
        if self.folder is None:  # a depot that is no folder says so itself
            return self.path is None or self.path.exists()
        about = _read(self.folder.with_name(self.folder.name.partition(".")[0]))
        return about is not None and about.number == self.number


class PartFolder:
    """The parts of the operation ``identity``. Every method blocks."""

    def __init__(self, identity: str, folder: Path, depot: Depot | None, *, durable: bool) -> None:
        self._identity, self._folder = identity, folder
        self._depot, self._durable = depot, durable

    def begin(self, number: int, part: Part) -> int:
        """A file descriptor to write its bytes to.

        Raises ``Problem`` (409) where this run has one of that name, finished or not.
        """
        made(self._folder)
        earlier, writing = _read(self._finished(part.name)), self._writing(part.name, number)
        if earlier is not None and earlier.number == number:
            raise _exists(part.name)
        try:
            writing.mkdir(mode=0o700)
        except FileExistsError:
            raise _exists(part.name) from None
        try:
            replace(writing / ABOUT, msgspec.json.encode(_About(part, number)))
            return os.open(writing / DATA, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except BaseException:
            self._drop(writing)
            raise

    def finish(self, number: int, part: Part) -> Part:
        """Its bytes are complete and described by ``part``. Returns what is published under its name.

        That is the part of an earlier run, where it has the same bytes. Raises ``Problem`` (409) where it
        has others, ``FileNotFoundError`` where this part was removed, ``OSError`` where it cannot be kept.
        """
        writing, finished = self._writing(part.name, number), self._finished(part.name)
        earlier = _read(finished)
        if earlier is None:
            key = self._keep(writing, number, part)
            if self._commit(writing, finished):
                if key:
                    (finished / DATA).unlink(missing_ok=True)
                    return msgspec.structs.replace(part, run=number)
                return part
            earlier = _read(finished)
        self._drop(writing)
        if earlier is None:
            raise FileNotFoundError(errno.ENOENT, "The operation was removed")
        if earlier.part.digest != part.digest:
            raise _published(part.name)
        return earlier.part

    def _keep(self, writing: Path, number: int, part: Part) -> str:
        """Bytes and description, where they are to stay; the key in the depot."""
        key = ""
        if self._depot is not None:
            key = self._key(part.name, number)
            self._depot.put(writing / DATA, key, durable=self._durable)
            self._depot.write(f"{key}.json", msgspec.json.encode(part))
        elif self._durable:
            sync(writing / DATA)
        replace(writing / ABOUT, msgspec.json.encode(_About(part, number, key)), durable=self._durable)
        return key

    def _key(self, name: str, number: int) -> str:
        return f"{self._identity}/{_digest(name)}.{number}"

    def adopt(self, part: Part) -> None:
        """Know of a part that an earlier run has published from another machine: it counts as finished."""
        finished = self._finished(part.name)
        if not part.run or finished.exists():
            return
        adopting = made(finished.with_name(f"{finished.name}.{part.run}.open"))
        about = _About(part, part.run, self._key(part.name, part.run))
        replace(adopting / ABOUT, msgspec.json.encode(about))
        if not self._commit(adopting, finished):
            self._drop(adopting)

    def elsewhere(self, part: Part) -> Found | None:
        """A part that was published from another machine, by its bytes in the depot."""
        if self._depot is None or not part.run:
            return None
        key = self._key(part.name, part.run)
        return Found(part, part.run, True, key, self._depot.path(key))

    def _commit(self, writing: Path, finished: Path) -> bool:
        if self._durable:
            sync_folder(writing)
        try:
            writing.rename(finished)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.EACCES}:
                raise
            return False
        if self._durable:
            sync_folder(self._folder)
        return True

    def abandon(self, number: int, name: str) -> None:
        """It will not be finished: its readers are cut."""
        self._drop(self._writing(name, number))

    def clear_open(self, below: int) -> None:
        """Drop what runs with a lease number below this one have left unfinished."""
        with contextlib.suppress(FileNotFoundError):
            for entry in list(self._folder.iterdir()):
                _, _, rest = entry.name.partition(".")
                number = rest.removesuffix(".open")
                if rest.endswith(JUNK) or (number.isdigit() and int(number) < below):
                    self._drop(entry)

    def finished(self) -> list[Part]:
        """Every part that is finished."""
        with contextlib.suppress(FileNotFoundError):
            found = (_read(entry) for entry in self._folder.iterdir() if "." not in entry.name)
            return [about.part for about in found if about is not None]
        return []

    def _drop(self, folder: Path) -> None:
        """Remove it, by a rename first: nobody can finish what is removed by halves."""
        junk = folder if folder.name.endswith(JUNK) else folder.with_name(folder.name + JUNK)
        with contextlib.suppress(FileNotFoundError):
            if junk != folder:
                folder.rename(junk)
            removed(junk)

    def find(self, name: str, number: int | None) -> Found | None:
        """The part: finished, or being written under the lease with this number."""
        finished = self._finished(name)
        folder, about = finished, _read(finished)
        if about is None and number is not None:
            folder = self._writing(name, number)
            about = _read(folder)
            if about is None:  # it may have been finished in this moment
                folder, about = finished, _read(finished)
        if about is None:
            return None
        path: Path | None = folder / DATA
        if about.key and folder == finished:
            path = None if self._depot is None else self._depot.path(about.key)
        return Found(about.part, about.number, folder == finished, about.key, path, folder)

    def _finished(self, name: str) -> Path:
        return self._folder / _digest(name)

    def _writing(self, name: str, number: int) -> Path:
        return self._folder / f"{_digest(name)}.{number}.open"


def _digest(name: str) -> str:
    """No name can reach another place, and none is too long for a file system."""
    normal = unicodedata.normalize("NFC", name).encode(errors="surrogatepass")
    return hashlib.sha256(normal).hexdigest()[:40]


def _read(folder: Path) -> _About | None:
    try:
        return msgspec.json.decode((folder / ABOUT).read_bytes(), type=_About)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _exists(name: str) -> Problem:
    return Problem(409, "This part exists", f"There is a part named {name!r} already.")


def _published(name: str) -> Problem:
    detail = (
        f"An earlier attempt has published a part named {name!r} with other bytes, and what was published "
        f"stays. op.published({name!r}) says whether a part is there already."
    )
    return Problem(409, "This part exists", detail)


def check_part_name(name: object) -> str:
    """``name`` in Unicode's form NFC, where a part can have it.

    Raises ``Problem`` (422) that says what is wrong with it.
    """
    if not isinstance(name, str):
        raise _bad_name(f"it is text, not {type(name).__name__}")
    if not name or name in {".", ".."}:
        raise _bad_name(f"{name!r} names no file")
    if "/" in name or "\\" in name:
        raise _bad_name("it holds no slash or backslash")
    if any(unicodedata.category(each) in {"Cc", "Zl", "Zp"} for each in name):
        raise _bad_name("it holds no control characters")
    if any(unicodedata.category(each) == "Cf" and each not in JOINERS for each in name):
        raise _bad_name("it holds no invisible characters")
    name = unicodedata.normalize("NFC", name)
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise _bad_name("it is valid Unicode") from None
    if length > LONGEST_NAME:
        raise _bad_name(f"it has at most {LONGEST_NAME} bytes, not {length}")
    return name


def _bad_name(why: str) -> Problem:
    return Problem(422, "This is no name of a part", f"A part's name is the last segment of its URL: {why}.")
