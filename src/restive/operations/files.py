"""What operations keep on disk: scratch folders, uploads, long results, and parts.

One folder for each operation below the state folder, made when first needed. Finished parts and long results
can be kept elsewhere (``parts=``); what describes a part stays here.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .depot import Depot, open_depot
from .disk import made, removed, replace, sync, sync_folder
from .parts import Found, Part, PartFolder, check_part_name
from .upload import StoredUpload

__all__ = ["Files", "FilesPlace", "Found", "Part", "check_part_name"]

logger = logging.getLogger("restive.operations")

COPY_CHUNK = 1 << 20
ELSEWHERE = "elsewhere"
"""The file in an operation's folder that says: some of it is in the depot."""

LEFT_BEHIND = 8
"""Operations that the depot could not remove before and that one removal tries again."""


@dataclass(frozen=True, slots=True)
class FilesPlace:
    """Where files are. It can be sent to another process of this machine."""

    home: Path
    """The state folder."""
    parts: str | None = None
    """A folder or fsspec URL for finished parts and long results; None: the state folder."""
    durable: bool = False
    """What is finished is on the disk before anybody is told of it."""


class Files:
    """The files of all operations. Every method blocks."""

    def __init__(self, place: Callable[[], FilesPlace]) -> None:
        self._place = place

    @property
    def place(self) -> FilesPlace:
        """Where they are."""
        return self._place()

    @property
    def reachable(self) -> bool:
        """Whether servers can read what is kept here."""
        return True

    def root(self) -> Path:
        """What holds the folders of all operations."""
        return self.place.home / "operations"

    def folder(self, identity: str) -> Path:
        """Everything that belongs to one operation."""
        return self.root() / identity

    def scratch(self, identity: str) -> Path:
        """The ``op.folder`` of one operation, made if need be."""
        return made(self.folder(identity) / "work")

    def depot(self) -> Depot | None:
        """Where finished parts and long results are kept, if not here."""
        return open_depot(self.place.parts)

    def identity(self) -> str:
        """What tells this state folder from others; all processes that share it agree."""
        path = made(self.place.home) / "identity"
        if not path.exists():
            fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            fresh.write_text(secrets.token_hex(8))
            try:
                os.link(fresh, path)  # exclusive: the first one counts
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                fresh.replace(path)
            fresh.unlink(missing_ok=True)
        return path.read_text()

    # Uploads

    def upload(self, identity: str, number: int, filename: str) -> Path:
        """Where an upload is kept; of the client's name only a harmless suffix is used."""
        suffix = Path(filename.replace("\0", "")).suffix
        kept = suffix if 1 < len(suffix) <= 16 and suffix[1:].isalnum() and suffix.isascii() else ""
        return made(self.scratch(identity) / "uploads") / f"{number}{kept}"

    def send_upload(self, identity: str, path: Path) -> str:
        """Put an upload where a worker on another machine can fetch it; its key. Raises ``OSError``."""
        depot = self.depot()
        assert depot is not None
        key = f"{identity}/upload.{path.name}"
        depot.put(path, key, durable=self.place.durable)
        path.unlink()
        return key

    def fetched(self, identity: str, upload: StoredUpload) -> StoredUpload:
        """The upload as a run here can read it, from the depot if need be. Raises ``OSError``."""
        if not upload.key:
            return upload
        path = made(self.scratch(identity) / "uploads") / upload.key.rpartition("/upload.")[2]
        if not path.exists():
            depot = self.depot()
            if depot is None:
                raise FileNotFoundError(errno.ENOENT, "there is no parts= any more", upload.key)
            depot.fetch(upload.key, path)
        return msgspec.structs.replace(upload, path=str(path))

    def sync(self, identity: str) -> None:
        """Return once the uploads of an operation are on the disk, where the backend outlives a crash too."""
        uploads = self.folder(identity) / "work" / "uploads"
        if not self.place.durable or not uploads.exists():
            return
        for path in uploads.iterdir():
            sync(path)
        for folder in (uploads, uploads.parent, uploads.parent.parent, self.root()):
            sync_folder(folder)

    # Long results

    def write_result(self, identity: str, data: bytes, number: int = 0) -> None:
        """Keep the long result of the run with this lease number; that of the newest run counts."""
        folder, name = made(self.folder(identity)), f"result.{number}.json"
        depot = self.depot()
        if depot is not None:
            try:
                self._mark_elsewhere(identity)
                depot.write(f"{identity}/{name}", data)
            except OSError as error:
                logger.warning("Operation %s: its result stays in the state folder: %s", identity, error)
            else:
                replace(folder / name, b"", durable=self.place.durable)
                return
        replace(folder / name, data, durable=self.place.durable)
        if self.place.durable:
            sync_folder(folder)

    def read_result(self, identity: str, number: int = 0) -> bytes:
        """The long result, of the run with this lease number where that is known.

        Raises ``FileNotFoundError``, or ``OSError`` where its place does not answer.
        """
        found = {int(path.name.split(".")[1]): path for path in self.folder(identity).glob("result.*.json")}
        number, depot = number or max(found, default=0), self.depot()
        data = found[number].read_bytes() if number in found else b""
        if data:
            return data
        if depot is None or not number:
            raise FileNotFoundError(identity)
        return depot.read(f"{identity}/result.{number}.json", 0, None)

    # Removal

    def forget(self, identity: str) -> None:
        """Remove what this machine has of it."""
        removed(self.folder(identity))

    def remove(self, identity: str, scattered: bool = False) -> None:
        """Remove all of it; no error where there is nothing.

        ``scattered``: another machine may have put some of it into the depot.
        """
        folder = self.folder(identity)
        if (folder / ELSEWHERE).exists() or (scattered and self.place.parts is not None):
            made(self._left_behind()).joinpath(identity).touch()
        removed(folder)
        self._remove_elsewhere(identity)

    def _remove_elsewhere(self, identity: str) -> None:
        """Remove it from the depot, and what the depot could not remove before."""
        depot, left = self.depot(), self._left_behind()
        if depot is None or not left.exists():
            return
        names = [each.name for each in left.iterdir() if each.name != identity][:LEFT_BEHIND]
        for name in [identity, *names]:
            try:
                if (left / name).exists():
                    depot.remove(name)
                    (left / name).unlink(missing_ok=True)
            except OSError as error:
                logger.warning("The parts of operation %s cannot be removed now: %s", name, error)
                return

    def _left_behind(self) -> Path:
        return self.place.home / "removals"

    def _mark_elsewhere(self, identity: str) -> None:
        (self.folder(identity) / ELSEWHERE).touch()

    # Parts

    def _parts(self, identity: str) -> PartFolder:
        place = self.place
        folder = self.folder(identity) / "parts"
        return PartFolder(identity, folder, open_depot(place.parts), durable=place.durable)

    def open_part(self, identity: str, number: int, part: Part) -> int:
        """Begin a part under the lease with this number: a file descriptor to write to.

        Raises ``Problem`` (409) where this run has one of that name, finished or not.
        """
        return self._parts(identity).begin(number, part)

    def finish_part(self, identity: str, number: int, part: Part) -> Part:
        """Its bytes are complete. Returns and raises as ``PartFolder.finish`` does."""
        if self.place.parts is not None:
            self._mark_elsewhere(identity)
        return self._parts(identity).finish(number, part)

    def abandon_part(self, identity: str, number: int, name: str) -> None:
        """It will not be finished: its readers are cut."""
        self._parts(identity).abandon(number, name)

    def clear_open(self, identity: str, below: int) -> None:
        """Drop what runs with an older lease number have left unfinished: its readers are cut.

        From then on nothing that such a run still writes can be finished.
        """
        self._parts(identity).clear_open(below)

    def finished(self, identity: str) -> list[Part]:
        """Every part that is finished, listed or not."""
        return self._parts(identity).finished()

    def adopt(self, identity: str, part: Part) -> None:
        """Know of a part that an earlier run has published from another machine: it counts as finished."""
        self._parts(identity).adopt(part)

    def elsewhere(self, identity: str, part: Part) -> Found | None:
        """A part that was published from another machine, where the depot has its bytes."""
        return self._parts(identity).elsewhere(part)

    def left_behind(self) -> Iterator[str]:
        """The names of all operations that have a folder."""
        with contextlib.suppress(OSError):
            yield from os.listdir(self.root())

    def part(self, identity: str, name: str, number: int | None = None) -> Found | None:
        """A part that is finished, or that the run with this lease number writes now."""
        return self._parts(identity).find(name, number)
