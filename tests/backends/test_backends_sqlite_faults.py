"""SQLite where it cannot work: each fault is one clear BackendUnavailable, and passes with its cause."""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.backend_processes import PATIENCE, eventually, run, start
from restive.backends.port import LOST, Announce
from restive.backends.sqlite import SqliteBackend
from restive.backends.sqlite_schema import APPLICATION, VERSION
from restive.errors import BackendUnavailable
from restive.testing.stores import Ear


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restive.db"


def every_call(backend: SqliteBackend):
    return [
        lambda: backend.announce(b"x"),
        lambda: backend.listen(Ear()),
        lambda: backend.append("s", [b"x"]),
        lambda: backend.read("s"),
        lambda: backend.drop("s"),
        lambda: backend.load("r"),
        lambda: backend.save("r", b"x", version=0),
        lambda: backend.delete("r"),
        lambda: backend.scan(""),
        lambda: backend.apply([Announce(b"x")]),
        backend.probe,
    ]


def test_a_folder_that_is_not_there(tmp_path: Path):
    backend = SqliteBackend(tmp_path / "missing" / "restive.db")
    for call in every_call(backend):
        with pytest.raises(BackendUnavailable, match=r"missing/restive\.db.*RESTIVE_HOME"):
            call()
    (tmp_path / "missing").mkdir()
    assert backend.save("r", b"x", version=0)
    backend.close()


def test_a_folder_in_place_of_the_file(path: Path):
    path.mkdir()
    with pytest.raises(BackendUnavailable, match=r"restive\.db.*RESTIVE_HOME"):
        SqliteBackend(path).load("r")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that another user reaches: pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


UNPRIVILEGED = """
    if os.geteuid() == 0:
        os.setuid(65534)
    b = SqliteBackend(path, name="app")
    for call in (lambda: b.load("r"), lambda: b.announce(b"x"), lambda: b.listen(print)):
        try:
            call()
        except BackendUnavailable as error:
            say(error)
"""


def test_a_folder_that_may_not_be_written(public_folder: Path):
    public_folder.chmod(0o555)
    said = run(UNPRIVILEGED, public_folder / "restive.db")
    assert len(said) == 3
    assert all("cannot be made: Permission denied" in line and "RESTIVE_HOME" in line for line in said)


def test_a_file_that_may_not_be_written(public_folder: Path):
    path = public_folder / "restive.db"
    backend = SqliteBackend(path, name="app")
    backend.save("r", b"x", version=0)
    backend.close()
    path.chmod(0o444)
    public_folder.chmod(0o555)
    said = run(UNPRIVILEGED, path)
    assert len(said) == 3
    assert all("cannot be written" in line and "RESTIVE_HOME" in line for line in said)


def test_a_locked_file_bounds_every_wait_and_is_still_read(path: Path):
    backend = SqliteBackend(path, name="app", patience=0.1)
    version = backend.save("r", b"x", version=0)
    holder = start(
        """
        with SqliteBackend(path, name="app")._file.writing():
            say("held")
            sys.stdin.readline()
        """,
        path,
    )
    assert holder.stdout.readline() == "held\n"
    for write in (lambda: backend.save("r", b"y", version=version), lambda: backend.announce(b"x")):
        with pytest.raises(BackendUnavailable, match=r"locked: another process has held it for 0\.1 s"):
            write()
    found = backend.load("r")
    assert found is not None
    assert found.value == b"x"
    holder.stdin.write("end\n")
    holder.stdin.flush()
    assert holder.wait(PATIENCE) == 0
    assert backend.save("r", b"y", version=version) > version
    backend.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to look at " * 200, b"\0" * 8192])
def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, content: bytes):
    path.write_bytes(content)
    for call in every_call(SqliteBackend(path, patience=0.1)):
        with pytest.raises(BackendUnavailable, match="no database"):
            call()
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_store(path: Path):
    path.touch()
    backend = SqliteBackend(path)
    assert backend.save("r", b"x", version=0)
    backend.close()


def test_the_database_of_another_application_is_left_as_it_is(path: Path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE orders (id)")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    with pytest.raises(BackendUnavailable, match=r"another application.*a file of its own"):
        SqliteBackend(path).save("r", b"x", version=0)
    assert path.read_bytes() == content


def test_the_file_of_a_newer_restive_is_refused(path: Path):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(BackendUnavailable, match=r"newer Restive.*Upgrade"):
        SqliteBackend(path).load("r")


def test_a_damaged_file_is_no_foreign_error(path: Path):
    backend = SqliteBackend(path, name="app")
    for n in range(500):
        backend.save(f"r{n:03d}", bytes([n % 256]) * 200, version=0)
    backend.close()
    with path.open("r+b") as file:
        for page in range(1, os.path.getsize(path) // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    for call in every_call(backend):
        with pytest.raises(BackendUnavailable, match=r"damaged.*Move it away"):
            call()
    path.unlink()
    assert backend.save("r", b"x", version=0)
    backend.close()


def test_a_full_disk_refuses_and_loses_nothing(path: Path):
    said = run(
        """
        import resource
        b = SqliteBackend(path, name="app")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        b.save("first", b"x", version=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        for n in range(100):
            try:
                b.save(f"r{n}", bytes(10_000), version=0)
                say(n)
            except BackendUnavailable as error:
                say(error)
                break
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        b.save("last", b"x", version=0)
        say("went on")
        """,
        path,
    )
    *saved, error, went_on = said
    assert "RESTIVE_HOME" in error
    assert went_on == "went on"
    assert len(saved) > 5
    backend = SqliteBackend(path, name="app")
    names = {record.name for record in backend.scan("", limit=1000)}
    assert names == {"first", "last", *(f"r{n}" for n in saved)}
    backend.close()


def test_an_error_while_listening_is_logged_and_becomes_lost(path: Path, caplog: pytest.LogCaptureFixture):
    backend = SqliteBackend(path, name="app", patience=0.1, interval=0.005)
    ear = Ear()
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    with caplog.at_level(logging.INFO, "restive.backends"):
        for file in path.parent.iterdir():
            file.unlink()
        path.mkdir()
        eventually(lambda: "do not arrive" in caplog.text)
        assert LOST not in ear.heard
        path.rmdir()
        eventually(lambda: LOST in ear.heard)
    assert caplog.text.count("do not arrive") == 1
    assert "arrive again" in caplog.text
    backend.announce(b"after")
    assert ear.until(b"after") == [b"before", b"after"]
    backend.close()
