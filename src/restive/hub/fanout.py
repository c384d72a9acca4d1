"""Writing the same bytes to many sockets: in C where it was built, in Python else."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..telemetry import metrics

__all__ = ["NATIVE", "send_all"]

Send = Callable[[list[int], bytes], list[tuple[int, int]]]


def _send_all(descriptors: list[int], data: bytes) -> list[tuple[int, int]]:
    """Write ``data`` to each of the sockets, which must not block.

    Returns those that did not take all of it: their place in ``descriptors``, and how many bytes they took.
    Why it was none is for their transport to find out, which writes the rest.
    """
    short, size, write = [], len(data), os.write
    for index, descriptor in enumerate(descriptors):
        try:
            sent = write(descriptor, data)
        except OSError:
            sent = 0
        if sent != size:
            short.append((index, sent))
    return short


send_all: Send = _send_all
NATIVE = False
"""Whether the loop is C's."""

try:
    from ._fanout import send_all  # type: ignore[import-not-found, no-redef, unused-ignore]
except ImportError:
    pass
else:
    NATIVE = True

metrics.native = NATIVE
