"""What a backend URL means, and where state is kept."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends.backend_processes import PATIENCE, eventually
from restive.backends import home, open_backend, resolve
from restive.backends.filesystems import network_filesystem
from restive.backends.memory import MemoryBackend
from restive.backends.sqlite import SqliteBackend
from restive.backends.surroundings import Start, one_of_several
from restive.errors import BackendUnavailable, SettingError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A single process in an empty folder, whatever runs the tests."""
    for name in ("WEB_CONCURRENCY", "SERVER_SOFTWARE", "RESTIVE_HOME", "RESTIVE_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("environ", "start", "expected"),
    [
        ({}, None, False),
        ({"WEB_CONCURRENCY": "4"}, None, True),
        ({"WEB_CONCURRENCY": "1"}, None, False),
        ({"WEB_CONCURRENCY": ""}, None, False),
        ({"WEB_CONCURRENCY": "many"}, None, False),
        ({"SERVER_SOFTWARE": "gunicorn/23.0.0"}, None, True),
        ({"SERVER_SOFTWARE": "Werkzeug/3"}, None, False),
        ({}, Start("uvicorn", workers=4), True),
        ({}, Start("uvicorn", workers=1), False),
        ({}, Start("uvicorn", workers=1, reload=True), False),
        ({}, Start("uvicorn", workers=4, reload=True), False),
        ({}, Start("uvicorn"), True),
        ({}, Start("granian"), True),
        ({}, Start("hypercorn", workers=2), True),
        ({}, Start("concurrent"), False),
        ({}, Start("myproject", workers=8), False),
        ({"WEB_CONCURRENCY": "4"}, Start("uvicorn", workers=1), True),
    ],
)
def test_one_of_several(environ: dict[str, str], start: Start | None, expected: bool):
    assert one_of_several(environ, start) is expected


APP = """
import os
from pathlib import Path
from restive.backends import resolve

Path(f"saw-{os.getpid()}").write_text(resolve("auto"))

async def app(scope, receive, send):
    assert scope["type"] == "http"
"""


@pytest.mark.parametrize(
    ("command", "shared"),
    [
        ("uvicorn --workers 2", True),
        ("uvicorn --reload", False),
        ("uvicorn", False),
        ("hypercorn --workers 2", True),
        ("granian --interface asgi --workers 2", True),
    ],
)
def test_what_auto_means_under_a_real_server(command: str, shared: bool, tmp_path: Path):
    (tmp_path / "shop.py").write_text(APP)
    module, *options = command.split()
    port = ["--bind", "127.0.0.1:0"] if module == "hypercorn" else ["--port", "0"]
    server = subprocess.Popen(
        [sys.executable, "-m", module, *options, *port, "shop:app"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: [f for f in tmp_path.glob("saw-*") if f.read_text()])
        expected = f"sqlite:///{tmp_path}/.restive/restive.db" if shared else "memory:"
        assert {f.read_text() for f in tmp_path.glob("saw-*") if f.read_text()} == {expected}
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # workers too: some miss a signal while they start
        server.wait(PATIENCE)


def test_auto_is_memory_in_a_single_process(tmp_path: Path):
    assert resolve("auto") == "memory:"
    assert isinstance(open_backend("auto", name="app"), MemoryBackend)
    assert list(tmp_path.iterdir()) == []


def test_auto_is_a_file_in_the_state_folder_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert resolve("auto") == f"sqlite:///{tmp_path}/.restive/restive.db"
    app_folder = tmp_path / "a folder#1?"
    app_folder.mkdir()
    url = resolve("auto", app_folder=app_folder)
    backend = open_backend(url, name="app")
    assert isinstance(backend, SqliteBackend)
    assert backend.path == app_folder / ".restive" / "restive.db"
    assert backend.save("r", b"x", version=0)
    backend.close()


def test_memory_forced_on_several_is_an_error_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert resolve("memory:") == "memory:"
    assert caplog.records == []
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert resolve("memory:") == "memory:"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///x.db", "{here}/x.db"),
        ("sqlite:///sub/x.db", "{here}/sub/x.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:////var/with%20space%3F.db", "/var/with space?.db"),
    ],
)
def test_a_path_is_relative_after_three_slashes_and_full_after_four(url: str, path: str, tmp_path: Path):
    backend = open_backend(url, name="app")
    assert isinstance(backend, SqliteBackend)
    assert str(backend.path) == path.format(here=tmp_path)
    assert resolve(resolve(url)) == resolve(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["mysql", "SQLITE", "memory", ""])
def test_other_schemes_are_refused_and_what_there_is_named(scheme: str):
    there_are = r"auto, memory:, sqlite:///path, redis://, nats:// and postgresql://"
    with pytest.raises(SettingError, match=there_are) as caught:
        open_backend(f"{scheme}://user:secret@host/0", name="app")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite:", "sqlite:///relative/path"),
        ("sqlite://", "sqlite:///relative/path"),
        ("sqlite:///", "sqlite:///relative/path"),
        ("sqlite://host/x.db", "sqlite:///relative/path"),
        ("sqlite:x.db", "sqlite:///relative/path"),
        ("sqlite:///x%00.db", "sqlite:///relative/path"),
        ("sqlite:///:memory:", "write memory:"),
        ("sqlite:///x.db?timeout=3", "no options"),
    ],
)
def test_a_sqlite_url_that_cannot_work_says_how_to_write_it(url: str, hint: str):
    with pytest.raises(SettingError, match=hint):
        resolve(url)


def test_home_is_private_and_ignored(tmp_path: Path):
    folder = home()
    assert folder == tmp_path / ".restive"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    (folder / ".gitignore").write_text("# mine\n")
    assert home() == folder
    assert (folder / ".gitignore").read_text() == "# mine\n"


def test_home_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    named = tmp_path / "state" / "of" / "shop"
    monkeypatch.setenv("RESTIVE_HOME", str(named))
    assert home(tmp_path / "app") == named
    assert named.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "app").exists()


def test_home_that_anyone_may_write_in_is_refused(tmp_path: Path):
    folder = tmp_path / ".restive"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(BackendUnavailable, match=r"Anyone may write.*RESTIVE_HOME"):
        home()


def test_home_that_is_a_file_or_below_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".restive").write_text("a file")
    with pytest.raises(BackendUnavailable, match=r"not usable.*RESTIVE_HOME"):
        home()
    monkeypatch.setenv("RESTIVE_HOME", str(tmp_path / ".restive" / "below"))
    with pytest.raises(BackendUnavailable, match=r"not usable.*RESTIVE_HOME"):
        home()


def test_home_where_nothing_may_be_written_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RESTIVE_HOME", "/proc/restive")
    with pytest.raises(BackendUnavailable, match=r"not usable.*RESTIVE_HOME"):
        home()


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
server:/export /mnt/net nfs4 rw,vers=4.2 0 0
tmpfs /mnt/net/fast tmpfs rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
me@host:/ /home/me/remote fuse.sshfs rw 0 0
/dev/sdb1 /mnt/over ext4 rw 0 0
server:/over /mnt/over nfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/lib", None),
        ("/mnt/net", "nfs4"),
        ("/mnt/net/a/b", "nfs4"),
        ("/mnt/network", None),
        ("/mnt/net/fast/a", None),
        ("/mnt/with space/a", "cifs"),
        ("/home/me/remote/x", "fuse.sshfs"),
        ("/mnt/over/a", "nfs"),
    ],
)
def test_network_file_systems_are_recognized(path: str, expected: str | None):
    assert network_filesystem(Path(path), MOUNTS) == expected


def test_this_file_system_is_looked_up(tmp_path: Path):
    assert network_filesystem(tmp_path, "") is None
    assert network_filesystem(Path("/proc")) is None
