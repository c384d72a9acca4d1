"""nginx, HAProxy and Caddy as the files in deploy/ configure them, before three nodes of this machine.

Only addresses and ports are replaced in the files. A program that is not there is installed from the
distribution's packages where that may be done, else its absence is an error that says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scenarios.servers import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
READY_WITHIN = 15.0
LIFETIME = 600
"""Seconds after which a proxy ends, whatever happened to the tests."""

NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/shop.conf;
}}
"""


def program(name: str, package: str) -> str:
    """The path of a program, installed now where it is not there."""
    found = shutil.which(name, path=PATHS)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", package]):
            subprocess.run(
                ["apt-get", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        found = shutil.which(name, path=PATHS)
    if found is None:
        raise RuntimeError(f"These tests need {name}. Install it: apt-get install {package}")
    return found


def configured(name: str, ports: Sequence[int], listen: Callable[[int], tuple[str, str]], port: int) -> str:
    """The text of a file in deploy/, for nodes and a proxy at these ports; ``listen``: what becomes what."""
    text = (DEPLOY / name).read_text()
    for number, node in enumerate(ports, 1):
        address = f"10.0.0.{number}:8000"
        assert address in text, f"{name} has no {address}"
        text = text.replace(address, f"127.0.0.1:{node}")
    old, new = listen(port)
    assert text.count(old) == 1, f"{name} has no {old}"
    return text.replace(old, new)


class Proxy:
    """One of them, started at once."""

    def __init__(self, name: str, folder: Path, nodes: Sequence[int]) -> None:
        self.port = free_port()
        self._log = folder / f"{name}.log"
        command = KINDS[name](folder, nodes, self.port)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["timeout", str(LIFETIME), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)},
            )
        self._await()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _await(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"The proxy did not start:\n{self._log.read_text()}")

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait(10)


def nginx(folder: Path, nodes: Sequence[int], port: int) -> list[str]:
    text = configured("nginx.conf", nodes, lambda it: ("listen 80;", f"listen 127.0.0.1:{it};"), port)
    (folder / "shop.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""  # who else could write in the test's folder
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user))
    return [program("nginx", "nginx-light"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, nodes: Sequence[int], port: int) -> list[str]:
    text = configured("haproxy.cfg", nodes, lambda it: ("bind :80", f"bind 127.0.0.1:{it}"), port)
    (folder / "haproxy.cfg").write_text(text)
    return [program("haproxy", "haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def caddy(folder: Path, nodes: Sequence[int], port: int) -> list[str]:
    text = configured("Caddyfile", nodes, lambda it: ("\n:80 {", f"\nhttp://127.0.0.1:{it} {{"), port)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{text}")
    arguments = ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    return [program("caddy", "caddy"), *arguments]


KINDS = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy}
