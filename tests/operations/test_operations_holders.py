"""A holder's lock says that its process is gone, and never that of one that lives or is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from restive.operations.holders import Holders

SCRIPT = """
import sys
from pathlib import Path
from restive.operations.holders import Holders
holders = Holders(lambda: Path(sys.argv[1]))
holders.live()
print(holders.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_killed_process_is_known_to_be_dead_and_a_stopped_one_is_not(other, tmp_path):
    process, name = other
    holders = Holders(lambda: tmp_path)
    assert not holders.dead(name)
    process.send_signal(signal.SIGSTOP)
    assert not holders.dead(name)
    process.kill()
    process.wait(10)
    assert holders.dead(name)


def test_the_files_of_the_dead_are_removed_when_nothing_needs_them(other, tmp_path):
    process, name = other
    holders = Holders(lambda: tmp_path)
    holders.live()
    process.kill()
    process.wait(10)
    holders.forget({name})
    assert holders.dead(name)
    holders.forget(set())
    assert not holders.dead(name)
    assert len(list((tmp_path / "holders").iterdir())) == 1
    holders.close()
    assert list((tmp_path / "holders").iterdir()) == []


@pytest.mark.parametrize("name", ["", "host:1:", "host:1:../../x", "nobody", "host:1:0123abc"])
def test_of_an_unknown_holder_nothing_is_said(name, tmp_path):
    assert not Holders(lambda: tmp_path).dead(name)


def test_the_own_name_is_alive_before_and_after_the_lock(tmp_path):
    holders = Holders(lambda: tmp_path)
    assert not holders.dead(holders.name)
    holders.live()
    holders.live()
    assert not holders.dead(holders.name)
    again = Holders(lambda: tmp_path)
    assert not again.dead(holders.name)


def test_a_lock_that_was_never_finished_is_removed(tmp_path):
    (tmp_path / "holders").mkdir()
    (tmp_path / "holders" / "0123abc.new").touch()
    Holders(lambda: tmp_path).forget(())
    assert list((tmp_path / "holders").iterdir()) == []
