"""Writing to many descriptors, in C and in Python."""

from __future__ import annotations

import os
import shutil
import socket
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from restive.hub import fanout
from restive.hub.fanout import Send


def has_compiler() -> bool:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return os.name == "posix" and shutil.which(compiler) is not None and header.exists()


def test_the_loop_in_c_is_there_where_it_can_be_built() -> None:
    assert fanout.NATIVE or not has_compiler()
    assert (fanout.send_all is not fanout._send_all) == fanout.NATIVE


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """More connections than are written to at once."""
    made = [socket.socketpair() for _ in range(300)]
    for each in made:
        for end in each:
            end.setblocking(False)
    yield made
    for each in made:
        for end in each:
            end.close()


Pairs = list[tuple[socket.socket, socket.socket]]


def test_all_get_the_same(send_all: Send, pairs: Pairs) -> None:
    for data in (b"x", b"hello\x00" * 100):
        assert send_all([ours.fileno() for ours, _ in pairs], data) == []
        assert {theirs.recv(10_000) for _, theirs in pairs} == {data}
    assert send_all([], b"x") == []


def test_who_takes_less_is_named_with_how_much(send_all: Send, pairs: Pairs) -> None:
    """A full buffer, a closed peer, a descriptor of nothing: none of them harms another."""
    data = bytes(range(256)) * 4096
    full, gone, shut = 7, 255, 256
    pairs[full][0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    pairs[gone][1].close()
    numbers = [ours.fileno() for ours, _ in pairs]
    numbers[shut] = 2**20
    small = b"s" * 100
    assert send_all(numbers, small) == [(gone, 0), (shut, 0)]
    assert pairs[full][1].recv(1000) == small
    ((index, sent),) = send_all([numbers[full]], data)
    assert index == 0
    assert 0 < sent < len(data)
    assert send_all(numbers[full : full + 2], small) == [(0, 0)]
    assert pairs[full][1].recv(sent + 1) == data[:sent]
    assert pairs[full + 1][1].recv(1000) == small * 2


def test_the_same_descriptor_gets_each_of_its_own(send_all: Send, pairs: Pairs) -> None:
    number = pairs[0][0].fileno()
    assert send_all([number, number, number], b"abc") == []
    assert pairs[0][1].recv(100) == b"abcabcabc"


@pytest.mark.skipif(not fanout.NATIVE, reason="asked for by the first test")
@pytest.mark.parametrize(
    "args", [([1.5], b"x"), (["1"], b"x"), ([1], "x"), ((1,), b"x"), ([2**80], b"x"), ([],)]
)
def test_what_the_loop_in_c_cannot_take_is_an_error(args: Any) -> None:
    with pytest.raises((TypeError, SystemError, OverflowError)):
        fanout.send_all(*args)
