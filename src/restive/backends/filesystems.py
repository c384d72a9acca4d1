"""Which file systems cannot hold a SQLite file in WAL mode: those of another machine.

WAL needs memory that all processes share, and file locks that hold; over a network there is
neither (https://sqlite.org/wal.html). Best effort: Linux says in /proc/mounts what lies where.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["network_filesystem"]

NETWORK = frozenset(
    {
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "ceph",
        "lustre",
        "beegfs",
        "gpfs",
        "orangefs",
        "pvfs2",
        "davfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.gcsfuse",
        "fuse.ceph",
        "fuse.davfs",
    }
)
_ESCAPE = re.compile(r"\\([0-7]{3})")


def network_filesystem(path: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system that ``path`` lies on, or None.

    ``mounts`` is the text of /proc/mounts; by default it is read, and where it cannot be, nothing is known.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    found = _type_at(path.resolve(), mounts)
    return found if found in NETWORK else None


def _type_at(path: Path, mounts: str) -> str:
    """The file system type of the deepest mount above ``path``; of two on one point the later one counts."""
    depth, found = -1, ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = Path(_ESCAPE.sub(lambda m: chr(int(m[1], 8)), words[1]))
        if len(point.parts) >= depth and (path == point or point in path.parents):
            depth, found = len(point.parts), words[2]
    return found
