"""The line: who may connect, what is refused, and what is left of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from multiprocessing import AuthenticationError, Pipe
from multiprocessing.connection import Client
from pathlib import Path

import msgspec
import pytest
from process_calls import eventually

from restive.operations.engines.line import Line
from restive.operations.engines.messages import Answer, Ask, Channel, Report


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(lambda: tmp_path)
    yield made
    made.dismiss()
    made.close()


def test_wrong_key_is_refused(line: Line) -> None:
    address = line.address()
    with pytest.raises((AuthenticationError, EOFError, ConnectionError)):
        Client(address.path, authkey=b"guess")


def test_silent_connection_holds_up_nobody(line: Line) -> None:
    address = line.address()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(address.path)
        with Client(address.path, authkey=address.key) as connection:
            Channel(connection).send(Ask(7, 1))
            assert msgspec.msgpack.decode(connection.recv_bytes(), type=Answer).stop == "interrupted"


def test_nonsense_cuts_the_line(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    ours, its = Pipe()
    line.adopt(ours)
    Channel(its).send(Report(7, 1, None, None, None))  # of a call that is over
    its.send(["pickled"])
    with pytest.raises((EOFError, OSError)):
        its.recv_bytes()
    eventually(lambda: "no message" in caplog.text)


def test_socket_is_only_its_owners_and_goes(line: Line, tmp_path: Path) -> None:
    address = line.address()
    assert Path(address.path).parent == tmp_path
    line.close()
    assert not list(tmp_path.glob("*.sock"))
    assert line.address().line == address.line  # opened again, it is the same line


def test_sockets_of_killed_servers_are_removed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "line-00000000.sock"))
    lines = [Line(lambda: tmp_path), Line(lambda: tmp_path)]
    paths = {Path(each.address().path) for each in lines}
    assert set(tmp_path.glob("*.sock")) == paths
    for each in lines:
        each.close()


def test_long_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    line = Line(lambda: folder)
    path = Path(line.address().path)
    assert path.parent != folder
    assert path.parent.stat().st_mode & 0o777 == 0o700
    line.close()
    assert not path.parent.exists()
