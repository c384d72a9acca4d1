"""An operation with bars that worker processes run: they find it by name."""

from __future__ import annotations

import os

from restive import Operation
from restive.tqdm import tqdm


def meet(item: tuple[str, bool]) -> tuple[int, bool]:
    """Returns once another process is at the other item: each opens its end of the same pipe."""
    path, reads = item
    with tqdm(total=2, desc="meeting") as bar, open(path, "rb" if reads else "wb"):
        bar.update(2)
        return os.getpid(), bool(bar.disable)


def meeting(op: Operation) -> dict[bool, bool]:
    """Whether the bar was silenced, by whether its item was worked on in this process."""
    pipe = op.folder / "pipe"
    os.mkfifo(pipe)
    items = [(str(pipe), False), (str(pipe), True)]
    return {pid == os.getpid(): disabled for pid, disabled in op.map(meet, items, unit="items")}
