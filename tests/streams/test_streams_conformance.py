"""The conformance suite that the protocol's authors publish, against a server in a process of its own.

What is left out is named here, with the reason; anything else that fails, or that passes although it is
left out, fails the test.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.servers import Spawn
from streams.published import installed, node

LEFT_OUT = {
    "Fork - ": "Forks are an option of the protocol (section 4.2) that Restive does not have.",
    "Reserved subscription APIs": "Subscriptions (sections 6 and 7) are a service beside streams.",
}


@pytest.mark.timeout(280)
def test_the_server_conforms(spawn: Spawn, backend_url: str, tmp_path: Path) -> None:
    server = spawn("streams.stream_apps:app", env={"STREAMS_BACKEND": backend_url})
    report = tmp_path / "report.json"
    done = node(
        [
            "node_modules/.bin/vitest",
            "run",
            "--reporter=json",
            f"--outputFile={report}",
            "protocol.test.js",
            "--testNamePattern",
            f"^(?!.*({'|'.join(LEFT_OUT)}))",
        ],
        {"STREAMS_URL": server.url},
    )
    assert report.exists(), done.stdout + done.stderr
    found = [
        each for file in json.loads(report.read_text())["testResults"] for each in file["assertionResults"]
    ]
    failed = {each["fullName"]: each["failureMessages"] for each in found if each["status"] == "failed"}
    left_out = {each["fullName"] for each in found if each["status"] != "passed"} - failed.keys()
    assert failed == {}
    assert all(name.startswith(tuple(LEFT_OUT)) for name in left_out)
    assert sum(each["status"] == "passed" for each in found) == 250


def test_the_packages_are_those_of_the_lock() -> None:
    found = json.loads((installed() / "node_modules/.package-lock.json").read_text())["packages"]
    assert found["node_modules/@durable-streams/server-conformance-tests"]["version"] == "0.3.6"
