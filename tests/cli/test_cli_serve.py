"""``restive serve`` and ``restive demo``: they serve, or end with status 3 and say what to do."""

from __future__ import annotations

import socket

import httpx2
import pytest
from clirun import APPS, Served, error_of


def test_it_serves_and_keeps_its_state_beside_the_app(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "mine.py").write_text((APPS / "jobs.py").read_text())
    server = Served(tmp_path, "serve", "mine:app", "--app-dir", "app", RESTIVE_HOME="")
    try:
        assert httpx2.get(f"{server.url}/things/a").json() == {"n": 0}
        assert (tmp_path / "app" / ".restive" / "restive.db").exists()
    finally:
        assert server.stop() in {0, -15}


def test_a_change_in_one_worker_reaches_the_watchers_of_all(tmp_path, background):
    server = Served(tmp_path, "serve", "shop:app", "--workers", "2", "--app-dir", str(APPS))
    try:
        watches = [background("watch", f"{server.url}/seen") for _ in range(4)]
        assert [watch.stdout.readline() for watch in watches] == ["0\n"] * 4
        httpx2.put(f"{server.url}/seen", json=7).raise_for_status()
        assert [watch.stdout.readline() for watch in watches] == ["7\n"] * 4
    finally:
        server.stop()


def test_an_app_in_which_nothing_is_live_is_served_with_a_hint(tmp_path):
    server = Served(tmp_path, "serve", "plain:app", "--app-dir", str(APPS))
    try:
        assert httpx2.get(f"{server.url}/nothing").status_code == 404
    finally:
        server.stop()
    assert "nothing in plain:app can be watched. Add to it: live = Restive(app)" in server.log


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (None, "nowhere:app", "There is no module 'nowhere'"),
        ("", "bad:app", "The module 'bad' has no 'app'."),
        ("from restive import Restive\nlive = Restive()", "bad:app", "It has live."),
        ("app = 3", "bad:app", "bad:app is a int, which is no ASGI app"),
        ("import nix", "bad:app", "ModuleNotFoundError: No module named 'nix' ("),
        ("\n1 / 0", "bad:app", "ZeroDivisionError: division by zero ("),
        ("def f(:", "bad:app", "SyntaxError: invalid syntax ("),
        ("from restive import Restive\nRestive(settel=1)", "bad:app", "Did you mean 'settle'?"),
        ("", "bad.py:app", "is a file: write the module, bad:app."),
        ("", "bad:", "names no app: write module:app"),
    ],
)
def test_an_app_that_cannot_be_loaded_ends_it_with_status_3(restive, tmp_path, source, target, said):
    if source is not None:
        (tmp_path / "bad.py").write_text(source)
    done = restive("serve", target)
    assert done.returncode == 3
    assert said in error_of(done)


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("mongodb://x", "There is no backend 'mongodb'"),
        ("sqlite:x.db", "A sqlite URL is"),
        ("sqlite:////dev/null/x.db", "/dev/null"),
        ("sqlite:///no/such/folder/x.db", "no/such/folder"),
    ],
)
def test_a_backend_that_cannot_be_opened_ends_it_with_status_3(restive, backend, said):
    done = restive("serve", "jobs:app", "--app-dir", str(APPS), "--backend", backend)
    assert done.returncode == 3
    assert said in error_of(done)


def test_a_state_folder_that_cannot_be_made_ends_it_with_status_3(restive):
    done = restive("serve", "jobs:app", "--app-dir", str(APPS), env={"RESTIVE_HOME": "/dev/null/state"})
    assert done.returncode == 3
    assert "Set RESTIVE_HOME" in error_of(done)


@pytest.mark.parametrize("command", [["serve", "jobs:app", "--app-dir", str(APPS)], ["demo"]])
def test_a_port_that_is_taken_ends_it_with_status_3(restive, command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = restive(*command, "--port", port)
    assert done.returncode == 3
    assert f"127.0.0.1:{port} cannot be used" in error_of(done)


def test_reload_and_workers_exclude_each_other(restive):
    done = restive("serve", "jobs:app", "--reload", "--workers", "2")
    assert done.returncode == 2


def test_the_demo_is_served_with_a_page_that_says_what_to_try(tmp_path):
    server = Served(tmp_path, "demo")
    try:
        page = httpx2.get(server.url)
        assert f"restive watch {server.url}/orders/3" in page.text
        assert httpx2.get(f"{server.url}/orders/3").json()["item"] == "green tea"
        assert f"restive watch {server.url}/orders/3" in server.log
    finally:
        server.stop()
