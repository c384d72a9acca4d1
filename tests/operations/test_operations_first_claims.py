"""The lock by which others know that a process lives, taken when it claims its first operation."""

from __future__ import annotations

import threading

import pytest

from restive.operations.holders import Holders

pytest.importorskip("fcntl")


def test_threads_that_claim_at_once_take_the_lock_once(tmp_path):
    holders, others = Holders(lambda: tmp_path), Holders(lambda: tmp_path)
    barrier, errors = threading.Barrier(8), []

    def claim():
        barrier.wait(10)
        try:
            holders.live()
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert errors == []
    assert not others.dead(holders.name)
    holders.close()
