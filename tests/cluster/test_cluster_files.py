"""The files in deploy/: each is in the documentation word for word, and valid as far as can be seen here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.proxies import DEPLOY
from restive.app import Restive
from restive.cli.serve import serve

PAGE = DEPLOY.parent / "docs" / "deploy-nodes.md"
FILES = sorted(path.name for path in DEPLOY.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_in_the_documentation(name):
    blocks = re.findall(r"^```\w+\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert (DEPLOY / name).read_text() in blocks


def options_of(words: list[str]) -> None:
    """Let the command line parse what a file gives it, without serving anything."""
    assert words[0].rpartition("/")[2] == "restive"
    assert words[1] == "serve"
    serve.make_context("serve", words[2:])


def documents() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def test_the_unit_is_one(tmp_path):
    text = (DEPLOY / "restive.service").read_text()
    start = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert start is not None
    options_of(start[1].split())
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        return
    unit = tmp_path / "restive.service"
    unit.write_text(text.replace(start[1], "/bin/true"))
    run = subprocess.run([verifier, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_container_runs_a_command_that_there_is():
    command = re.search(r"^CMD (.*)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert command is not None
    options_of(yaml.safe_load(command[1]))


def test_kubernetes_asks_for_what_there_is_and_waits_for_the_drain():
    deployment = documents()["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    options_of(container["args"])
    ports = {port["name"] for port in container["ports"]}
    probes = [container[f"{each}Probe"]["httpGet"] for each in ("startup", "readiness", "liveness")]
    assert {probe["path"] for probe in probes} == {"/-/health/ready", "/-/health/live"}
    assert {probe["port"] for probe in probes} <= ports
    settings = Restive().settings
    assert pod["terminationGracePeriodSeconds"] > 10 + settings.drain + settings.drain_operations
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["RESTIVE_HOME"] in mounted.values()
    assert environment.keys() == {"RESTIVE_BACKEND", "RESTIVE_HOME"}


def test_kubernetes_objects_belong_together():
    found = documents()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == "http"


def test_the_page_names_no_health_that_there_is_not():
    for name in FILES:
        for path in re.findall(r"/-/health[\w/]*", Path(DEPLOY / name).read_text()):
            assert path in {"/-/health", "/-/health/ready", "/-/health/live"}
