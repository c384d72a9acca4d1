"""``restive changed``: watchers get the new state, or the command says why they cannot."""

from __future__ import annotations

import json

import httpx2
import pytest
from clirun import error_of, free_port


def _watch(background, url):
    watch = background("watch", url, "--transport", "websocket")
    return watch, json.loads(watch.stdout.readline())


def _write_quietly(served, name, value):
    httpx2.post(f"{served.url}/quiet/{name}", json=value).raise_for_status()


@pytest.mark.parametrize("how", ["backend", "http"])
def test_a_change_announced_from_another_process_reaches_watchers(served, background, restive, how):
    _write_quietly(served, how, {"n": 1})
    watch, first = _watch(background, f"{served.url}/things/{how}")
    assert first == {"n": 1}
    _write_quietly(served, how, {"n": 2})
    if how == "http":
        done = restive("changed", f"/things/{how}", "--url", served.url, "--token", "secret")
    else:
        done = restive("changed", f"/things/{how}", env={"RESTIVE_HOME": served.env["RESTIVE_HOME"]})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(watch.stdout.readline()) == {"n": 2}


def test_everything_below_a_target_can_be_announced(served, background, restive):
    _write_quietly(served, "deep", {"n": 1})
    watch, _ = _watch(background, f"{served.url}/things/deep")
    _write_quietly(served, "deep", {"n": 2})
    restive("changed", "/things", "--below", env={"RESTIVE_HOME": served.env["RESTIVE_HOME"]})
    assert json.loads(watch.stdout.readline()) == {"n": 2}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 3, "There is no backend here"),
        (["--backend", "memory:"], 3, "Other processes do not see memory:"),
        (["--backend", "sqlite:///none.db"], 3, "There is no backend at sqlite:///none.db"),
        (["--backend", "ftp://x"], 3, "There is no backend 'ftp'"),
        (["--url", "localhost:1"], 1, "--url needs --token"),
    ],
)
def test_a_backend_that_reaches_nobody_is_an_error(restive, arguments, status, said):
    done = restive("changed", "/orders/3", *arguments)
    assert done.returncode == status
    assert said in error_of(done)


def test_no_backend_is_made_by_announcing_in_it(restive, tmp_path):
    restive("changed", "/orders/3", "--backend", "sqlite:///none.db")
    assert not (tmp_path / "none.db").exists()
    assert not (tmp_path / "state").exists()


def test_a_file_that_is_no_backend_is_an_error(restive, tmp_path):
    (tmp_path / "text.db").write_text("no database" * 1000)
    done = restive("changed", "/orders/3", "--backend", "sqlite:///text.db")
    assert done.returncode == 3
    assert "text.db" in error_of(done)


@pytest.mark.parametrize("target", ["http://other/x", "//evil", "/a\\b", "", "/a#b"])
def test_what_is_no_target_is_an_error(restive, target):
    done = restive("changed", target)
    assert done.returncode == 1
    error_of(done)


def test_a_wrong_token_is_an_error(served, restive):
    done = restive("changed", "/things/a", "--url", served.url, "--token", "wrong")
    assert done.returncode == 1
    assert "answers 401" in error_of(done)


def test_a_server_that_is_not_there_ends_it_with_status_4(restive):
    done = restive("changed", "/a", "--url", f"http://127.0.0.1:{free_port()}", "--token", "x")
    assert done.returncode == 4
    assert "cannot be reached" in error_of(done)
