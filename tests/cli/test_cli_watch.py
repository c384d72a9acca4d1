"""``restive watch``: a line for each state, and an exit status that says how it ended."""

from __future__ import annotations

import json
import signal

import httpx2
import pytest
from clirun import error_of, free_port, in_terminal

TRANSPORTS = ["auto", "websocket", "sse", "ndjson", "long-poll", "poll"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_state_is_a_line_of_json(served, background, transport):
    url = f"{served.url}/things/{transport}"
    httpx2.put(url, json={"n": 1}).raise_for_status()
    watch = background("watch", url, "--transport", transport, "--poll-interval", "0.1")
    assert json.loads(watch.stdout.readline()) == {"n": 1}
    httpx2.put(url, json={"n": 2}).raise_for_status()
    assert watch.stdout.readline() == '{"n":2}\n'
    httpx2.delete(url).raise_for_status()
    assert watch.wait(20) == 1
    assert watch.stderr.read().startswith(f"restive: The watch of {url} ended with 404 Not Found")


def test_a_resource_that_is_final_ends_it_with_status_0(served, restive):
    done = restive("watch", f"{served.url}/final")
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"final":true}\n', "")


def test_a_resource_that_is_not_there_ends_it_with_status_1(served, restive):
    done = restive("watch", f"{served.url}/things/none")
    assert done.returncode == 1
    assert error_of(done).endswith("ended with 404 Not Found: There is no thing none.")


def test_a_server_that_is_not_there_ends_it_with_status_4(restive):
    done = restive("watch", f"http://127.0.0.1:{free_port()}/", "--connect-timeout", "0.2")
    assert done.returncode == 4
    error_of(done)


def test_a_known_state_is_not_printed_again(served, background):
    url = f"{served.url}/things/known"
    httpx2.put(url, json={"n": 1}).raise_for_status()
    etag = httpx2.get(url).headers["etag"]
    watch = background("watch", url, "--etag", etag, "--transport", "sse")
    again = background("watch", url)
    again.stdout.readline()  # both watch
    httpx2.put(url, json={"n": 2}).raise_for_status()
    assert json.loads(watch.stdout.readline()) == {"n": 2}


def test_ctrl_c_ends_it_with_status_130(served, background):
    watch = background("watch", f"{served.url}/things/a")
    watch.stdout.readline()
    watch.send_signal(signal.SIGINT)
    assert watch.wait(10) == 130
    assert watch.stderr.read() == ""


def test_it_ends_quietly_when_nobody_reads_any_more(served, background):
    url = f"{served.url}/things/pipe"
    httpx2.put(url, json={"n": 1}).raise_for_status()
    watch = background("watch", url)
    watch.stdout.readline()
    watch.stdout.close()
    httpx2.put(url, json={"n": 2}).raise_for_status()
    watch.wait(10)
    assert watch.stderr.read() == ""


@pytest.mark.parametrize("url", ["ftp://host/x", "http://", "http://host:x/", "http://a b/"])
def test_what_is_no_url_is_a_usage_error(restive, url):
    done = restive("watch", url)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_header_that_is_none_is_a_usage_error(restive):
    assert restive("watch", "localhost", "-H", "nonsense").returncode == 2


def test_headers_are_sent(served, restive, background):
    done = restive(
        "watch", f"{served.url}/final", "-H", "Authorization: Bearer x", "--transport", "websocket"
    )
    assert done.returncode == 0


def test_on_a_terminal_a_state_is_laid_out(served):
    shown = in_terminal("watch", f"{served.url}/final")
    assert [line.strip() for line in shown.output.splitlines()] == ["{", '"final": true', "}"]


def test_on_a_terminal_text_is_shown_as_text_that_cannot_steer_it(served):
    shown = in_terminal("watch", f"{served.url}/page", until="lines")
    assert "two\r\nlines\\x1b[31m" in shown.output
