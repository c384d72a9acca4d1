"""``restive submit`` and ``restive follow``: progress on stderr, the result on stdout, and the status."""

from __future__ import annotations

import json
import os
import signal

import httpx2
import pytest
from clirun import error_of, free_port, in_terminal


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some file.log"
    path.write_bytes(b"x" * 300_000)
    return path


def test_the_result_is_on_stdout_and_the_parts_on_stderr(served, restive, file):
    done = restive("submit", f"{served.url}/lengths", "-F", f"file=@{file}", "-F", "times=3")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"name": "some file.log", "size": 300_000}
    parts = [line for line in done.stderr.splitlines() if line.startswith("http")]
    assert [part.rpartition("/")[2] for part in parts] == ["0.txt", "1.txt", "2.txt"]
    assert [httpx2.get(part).text for part in parts] == ["part 0", "part 1", "part 2"]
    assert "3/3 rounds" in done.stderr


def test_stdin_can_be_uploaded(served, restive):
    done = restive("submit", f"{served.url}/lengths", "-F", "file=@-", "-F", "times=1", input="12345")
    assert json.loads(done.stdout) == {"name": "stdin", "size": 5}


def test_json_can_be_submitted(served, restive):
    done = restive("submit", f"{served.url}/sums", "--json", "[1, 2, 3]")
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_an_operation_that_failed_ends_it_with_status_1(served, restive):
    done = restive("submit", f"{served.url}/failing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("restive: The operation failed: ")


def test_an_operation_that_was_canceled_ends_it_with_status_1(served, background, restive):
    submitted = background("submit", f"{served.url}/endless")
    location = _location(submitted)
    httpx2.post(f"{location}/cancel").raise_for_status()
    assert submitted.wait(15) == 1
    assert "restive: The operation was canceled." in submitted.stderr.read()


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        ("/lengths", ["-F", "times=1"], "answers 422 Unprocessable Entity: body.file: Field required"),
        ("/nothing", [], "answers 404 Not Found"),
        ("/quiet/x", ["--json", "{}"], "answers 200 and starts no operation"),
    ],
)
def test_what_starts_no_operation_is_one_line_and_status_1(served, restive, path, arguments, said):
    done = restive("submit", f"{served.url}{path}", *arguments)
    assert done.returncode == 1
    assert said in error_of(done).replace("Content", "Entity")


def test_a_file_that_is_not_there_is_named(served, restive):
    done = restive("submit", f"{served.url}/lengths", "-F", "file=@nothing-here")
    assert done.returncode == 1
    assert error_of(done) == "restive: nothing-here: No such file or directory."


def test_a_server_that_is_not_there_ends_it_with_status_4(restive):
    done = restive("submit", f"http://127.0.0.1:{free_port()}/digests", "-F", "a=b")
    assert done.returncode == 4
    assert "cannot be reached" in error_of(done)


def test_json_and_fields_exclude_each_other(restive):
    assert restive("submit", "localhost", "--json", "1", "-F", "a=b").returncode == 2


# Leaving


def _location(process) -> str:
    """Where the operation is, told by its first part."""
    for line in process.stderr:
        if line.startswith("http"):
            return line.partition("/parts/")[0]
    raise AssertionError("no part was shown")


def test_ctrl_c_without_a_terminal_leaves_it_running_and_says_how_to_follow(served, background, restive):
    submitted = background("submit", f"{served.url}/endless")
    location = _location(submitted)
    submitted.send_signal(signal.SIGINT)
    assert submitted.wait(15) == 130
    assert f"restive follow {location}" in submitted.stderr.read()
    assert httpx2.get(location).json()["status"] == "running"
    httpx2.post(f"{location}/cancel").raise_for_status()
    followed = restive("follow", location)
    assert followed.returncode == 1
    assert followed.stderr.splitlines()[-1] == "restive: The operation was canceled."


def test_ctrl_c_on_a_terminal_asks_and_cancels_when_told_to(served):
    shown = in_terminal(
        "submit", f"{served.url}/endless", until="first.txt", keys=[b"\x03", ("(c/l)", b"c\n")]
    )
    assert shown.status == 130
    assert "The operation is canceled." in shown.output


@pytest.mark.parametrize("answer", [b"l\n", b"\n", b"\x03", b"\x04"])
def test_ctrl_c_on_a_terminal_leaves_it_running_when_told_to_or_not_told(served, answer):
    shown = in_terminal(
        "submit", f"{served.url}/endless", until="first.txt", keys=[b"\x03", ("(c/l)", answer)]
    )
    assert shown.status == 130
    location = shown.output.partition("restive follow ")[2].split()[0]
    assert httpx2.get(location).json()["status"] == "running"
    httpx2.post(f"{location}/cancel").raise_for_status()


def test_on_a_terminal_there_is_a_bar_and_the_result_is_laid_out(served, file):
    shown = in_terminal("submit", f"{served.url}/lengths", "-F", f"file=@{file}", "-F", "times=2")
    assert shown.status == 0
    assert "2/2 rounds" in shown.output
    assert '"size": 300000' in shown.output


# Following


def test_follow_attaches_to_what_runs_and_to_what_is_over(served, restive, file):
    with file.open("rb") as content:
        started = httpx2.post(f"{served.url}/lengths", files={"file": content}, data={"times": "2"})
    location = f"{served.url}{started.headers['location']}"
    for _ in range(2):
        done = restive("follow", location)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["size"] == 300_000
        assert f"{location}/parts/1.txt" in done.stderr


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/endless/none", "404"),
        ("/things/a", "This is not the document of an operation."),
        ("/final", "not the document"),
    ],
)
def test_follow_refuses_what_is_no_operation(served, restive, path, said):
    done = restive("follow", f"{served.url}{path}")
    assert done.returncode == 1
    assert said in error_of(done)


def test_ctrl_c_during_the_upload_says_that_nothing_was_started(served, background, tmp_path):
    os.mkfifo(tmp_path / "endless")
    submitted = background("submit", f"{served.url}/lengths", "-F", "file=@endless", "-F", "times=1")
    with (tmp_path / "endless").open("wb") as fifo:
        fifo.write(b"x" * 1_000_000)
        fifo.flush()
        assert submitted.stderr.readline().startswith("uploading: ")
        submitted.send_signal(signal.SIGINT)
    assert submitted.wait(15) == 130
    assert (
        submitted.stderr.read() == "restive: interrupted before the server answered: nothing was started.\n"
    )
