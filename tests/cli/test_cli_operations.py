"""``restive operations``: what a server's operations are, and what the commands do to them."""

from __future__ import annotations

import json

import httpx2
import pytest
from clirun import error_of, free_port, in_terminal

from restive import Client


class Tasks:
    """One user's operations of one collection."""

    def __init__(self, url, user):
        self.url, self.user = url, user
        self.auth = ["-H", f"X-User: {user}"]

    def submit(self, end, until="succeeded failed canceled"):
        """The URL of a new one, once its status is one that is waited for."""
        with Client(headers={"X-User": self.user}) as client:
            operation = client.operation(client.post(self.url, params={"end": end}))
            self._until(operation, until)
            return operation.url

    def document(self, location):
        with Client(headers={"X-User": self.user}) as client:
            return client.operation(location).status()

    def final(self, location):
        """Its final status."""
        with Client(headers={"X-User": self.user}) as client:
            return self._until(client.operation(location), "succeeded failed canceled")

    def _until(self, operation, statuses):
        with operation.progress() as documents:
            return next(doc["status"] for doc in documents if doc["status"] in statuses.split())


@pytest.fixture
def tasks(served, request):
    return Tasks(f"{served.url}/tasks", request.node.name[:100])


def _named(location):
    return location.rpartition("/")[2]


# Listing


def test_they_are_listed_newest_first(tasks, restive):
    failed, done = tasks.submit("fail"), tasks.submit("well")
    listed = restive("operations", "list", tasks.url, *tasks.auth)
    assert (listed.returncode, listed.stderr) == (0, "")
    heading, first, second = listed.stdout.splitlines()
    assert heading.split() == ["id", "status", "attempt", "created", "progress"]
    assert first.split()[:3] == [_named(done), "succeeded", "1"]
    assert "[###.......] 3/8 chunks, at work" in first
    assert second.split()[:3] == [_named(failed), "failed", "1"]
    assert "task() raised ValueError." in second


def test_a_status_and_a_limit_can_be_named(tasks, restive):
    urls = [tasks.submit(end) for end in ("well", "fail", "well", "well")]
    listed = restive(
        "operations", "list", tasks.url, "--status", "succeeded", "--limit", "2", "--urls", *tasks.auth
    )
    assert listed.stdout.splitlines() == [urls[3], urls[2]]
    assert listed.stderr == "There are more than 2: ask for more with --limit.\n"


def test_as_json_they_are_their_documents(tasks, restive):
    location = tasks.submit("well")
    listed = restive("operations", "list", tasks.url, "--json", *tasks.auth)
    assert json.loads(listed.stdout) == [tasks.document(location)]


def test_where_there_are_none_this_is_said(tasks, restive):
    listed = restive("operations", "list", tasks.url, *tasks.auth)
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "There are none.\n")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/sums", "/sums answers 404 There is no listing: An operation is known by its own URL."),
        ("/nothing", "/nothing answers 404 Not Found"),
        ("/things/a", "/things/a is no list of operations."),
        ("/page", "/page answers no JSON."),
    ],
)
def test_what_has_no_listing_is_one_line_and_status_1(served, restive, path, said):
    listed = restive("operations", "list", served.url + path)
    assert listed.returncode == 1
    assert error_of(listed) == f"restive: {served.url}{said}"


# Showing


def test_all_that_is_known_of_one_is_shown(tasks, restive):
    location = tasks.submit("well")
    shown = restive("operations", "show", location, *tasks.auth)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines() if not line.startswith(" "))
    assert lines["url"] == location
    assert lines["status"] == "succeeded"
    assert lines["progress"] == "[###.......] 3/8 chunks"
    assert lines["message"] == "at work"
    assert lines["part"] == f"{location}/parts/notes.txt (10 bytes, text/plain; charset=utf-8)"
    assert '"end": "well"' in shown.stdout


def test_of_one_that_failed_the_problem_is_shown(tasks, restive):
    shown = restive("operations", "show", tasks.submit("fail"), *tasks.auth)
    assert "error     The operation failed: task() raised ValueError." in shown.stdout.splitlines()


def test_as_json_it_is_the_document_with_its_parts(tasks, restive):
    location = tasks.submit("well")
    shown = json.loads(restive("operations", "show", location, "--json", *tasks.auth).stdout)
    (part,) = shown.pop("parts")
    assert (part["name"], part["size"], part["url"]) == ("notes.txt", 10, f"{location}/parts/notes.txt")
    document = tasks.document(location)
    del document["parts"]
    assert shown == document


def test_on_a_terminal_its_json_is_laid_out(tasks):
    location = tasks.submit("well")
    shown = in_terminal("operations", "show", location, "--json", *tasks.auth)
    assert shown.status == 0
    assert json.loads(shown.output)["parts"][0]["name"] == "notes.txt"


def test_one_that_runs_is_shown_as_it_is(tasks, restive):
    location = tasks.submit("never", until="running")
    shown = restive("operations", "show", location, *tasks.auth)
    assert "status    running" in shown.stdout.splitlines()
    assert restive("operations", "delete", "--yes", location, *tasks.auth).returncode == 0


def test_the_place_in_the_queue_is_shown(served, restive, background):
    alone = Tasks(f"{served.url}/alone", "ann")
    first = alone.submit("never", until="running")
    second = alone.submit("well", until="queued")
    third = background("submit", f"{alone.url}?end=well", *alone.auth)
    assert third.stderr.readline().startswith("queued: number 2 in the queue")
    shown = restive("operations", "show", second, *alone.auth)
    assert any(line.startswith("queue     number 1 in the queue") for line in shown.stdout.splitlines())
    restive("operations", "delete", "--yes", first, *alone.auth)
    assert alone.final(second) == "succeeded"
    assert third.wait(20) == 0
    assert json.loads(third.stdout.read()) == {"end": "well"}


def test_another_ones_is_not_there(tasks, restive):
    location = tasks.submit("well")
    for command in (["show"], ["cancel"], ["delete", "--yes"]):
        done = restive("operations", *command, location, "-H", "X-User: bob")
        assert done.returncode == 1
        assert error_of(done) == f"restive: {location} answers 404 There is no such operation"
    assert tasks.document(location)["status"] == "succeeded"


@pytest.mark.parametrize("path", ["/things/a", "/page", "/tasks"])
def test_what_is_no_operation_is_one_line_and_status_1(served, restive, path):
    done = restive("operations", "show", served.url + path, "-H", "X-User: nobody")
    assert done.returncode == 1
    error_of(done)


# Canceling


def test_they_are_canceled(tasks, restive):
    running, done = tasks.submit("never", until="running"), tasks.submit("well")
    canceled = restive("operations", "cancel", running, done, *tasks.auth)
    assert (canceled.returncode, canceled.stderr) == (0, "")
    assert canceled.stdout.splitlines() == [
        f"{running}: running, asked to cancel",
        f"{done}: had already succeeded",
    ]
    assert tasks.final(running) == "canceled"


def test_one_that_is_refused_does_not_stop_the_others(tasks, restive):
    running = tasks.submit("never", until="running")
    done = restive("operations", "cancel", f"{tasks.url}/none", running, *tasks.auth)
    assert done.returncode == 1
    assert error_of(done) == f"restive: {tasks.url}/none answers 404 There is no such operation"
    assert tasks.final(running) == "canceled"


# Deleting


def test_they_are_deleted(tasks, restive):
    running, done = tasks.submit("never", until="running"), tasks.submit("well")
    deleted = restive("operations", "delete", "--yes", running, done, *tasks.auth)
    assert deleted.returncode == 0
    assert deleted.stdout.splitlines() == [f"{running}: deleted", f"{done}: deleted"]
    again = restive("operations", "show", done, *tasks.auth)
    assert again.returncode == 1
    assert error_of(again) == f"restive: {done} answers 410 The operation is gone: It was deleted."


def test_where_nobody_can_be_asked_nothing_is_deleted_without_yes(tasks, restive):
    location = tasks.submit("well")
    done = restive("operations", "delete", location, *tasks.auth)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert tasks.document(location)["status"] == "succeeded"


@pytest.mark.parametrize(("key", "status"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x03", 130)])
def test_on_a_terminal_it_asks_first(tasks, restive, key, status):
    location = tasks.submit("well")
    shown = in_terminal("operations", "delete", location, *tasks.auth, until="(y/n)", keys=[key])
    assert shown.status == status
    assert ("deleted" in shown.output.replace("Nothing was deleted", "")) == (status == 0)
    code = httpx2.get(location, headers={"X-User": tasks.user}).status_code
    assert code == (410 if status == 0 else 200)


# The server


@pytest.mark.parametrize("command", [["list"], ["show"], ["cancel"], ["delete", "--yes"]])
def test_a_server_that_is_not_there_ends_it_with_status_4(restive, command):
    url = f"http://127.0.0.1:{free_port()}/tasks"
    done = restive("operations", *command, url, "--connect-timeout", "0.2")
    assert done.returncode == 4
    assert url in error_of(done)


def test_each_command_has_help(restive):
    done = restive("operations", "--help")
    assert done.returncode == 0
    for command in ("list", "show", "cancel", "delete"):
        assert f"\n  {command} " in done.stdout
        assert restive("operations", command, "--help").returncode == 0
