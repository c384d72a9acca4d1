"""``restive check``: what each route is to watchers."""

from __future__ import annotations

import json

import pytest
from clirun import APPS, error_of


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    from clirun import run

    done = run(
        tmp_path_factory.mktemp("check"),
        "check",
        "shapes:app",
        "--app-dir",
        str(APPS),
        "--json",
        "--path",
        "/shop/items/3",
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {row["path"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("path", "watchable", "sharing", "cost"),
    [
        ("/shop/public", True, "shared", "1 look"),
        ("/shop/items/3", True, "private", "1 look per user"),
        ("/shop/items/{number}", None, "?", "?"),
        ("/mine", True, "private", "1 look per user"),
        ("/cookie", True, "private", "1 look per watcher"),
        ("/events", False, "-", "-"),
        ("/image", True, "private", "1 look per user"),
        ("/moved", False, "-", "-"),
        ("/forever", True, "shared", "nothing"),
        ("/admin/secret", False, "-", "-"),
    ],
)
def test_watchable_sharing_and_cost(rows, path, watchable, sharing, cost):
    row = rows[path]
    assert (row["watchable"], row["sharing"], row["cost"]) == (watchable, sharing, cost), row


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/shop/public", "Cache-Control: public, max-age=60; looked at again every 60 s"),
        ("/shop/items/{number}", "has parameters: name one with --path"),
        ("/mine", "answers 401: name credentials with -H"),
        ("/events", "a stream of the app's own"),
        ("/image", "says nothing of caching; too big or binary, so watchers GET it themselves"),
        ("/moved", "answers 307: watch /mine"),
        ("/admin/secret", "taken out by live.never or targets="),
    ],
)
def test_the_reason_is_given(rows, path, why):
    assert rows[path]["why"] == why


def test_what_an_unsafe_request_announces(rows):
    item = rows["/shop/items/{number}"]
    assert item["methods"] == ["DELETE", "GET", "PUT"]
    assert item["announces"] == ["/shop/items/{number}", "/shop/items", "/shop", "/shop/items/{number}/*"]
    assert "announces" not in rows["/shop/public"]


def test_for_people_it_is_a_table(restive):
    done = restive("check", "shapes:app", "--app-dir", str(APPS))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("/shop/public")]
    assert line.split()[:3] == ["/shop/public", "yes", "shared"]
    assert any(line.startswith("DELETE PUT /shop/items/{number}") for line in done.stdout.splitlines())


def test_the_app_is_asked_for_nothing_where_no_look_is_wanted(restive):
    done = restive("check", "shapes:app", "--app-dir", str(APPS), "--no-look", "--json")
    assert {row.get("watchable") for row in json.loads(done.stdout)} == {None}


def test_an_app_in_which_nothing_is_live_is_an_error(restive):
    done = restive("check", "plain:app", "--app-dir", str(APPS))
    assert done.returncode == 1
    assert "Add to it: live = Restive(app)" in error_of(done)


def test_an_app_that_does_not_start_is_an_error(restive, tmp_path):
    (tmp_path / "dead.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from starlette.applications import Starlette\n"
        "from restive import Restive\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n    raise RuntimeError('no database')\n    yield\n"
        "app = Starlette(lifespan=lifespan)\nRestive(app)\n"
    )
    done = restive("check", "dead:app")
    assert done.returncode == 3
    assert "no database" in done.stderr.splitlines()[-1]
