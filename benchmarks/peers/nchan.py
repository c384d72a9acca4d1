"""nginx with nchan, of Debian's packages: one worker, its store in shared memory, no logs.

Each channel keeps one message, so that who comes is told the latest state. Nchan frames a message once
for all, and writes at once: no compression, no pings, nothing held back.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import wire
from ..case import Case, Load
from ..server import HOST, START_UP, Group, free_port
from .packages import apt, debian_version
from .peer import Peer, begin, opening, states

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
PACKAGES = ("nginx", "libnginx-mod-nchan")
SPARE = 256
"""Connections beside those of the watchers and the last sixteenth, before which nginx closes others."""

CONFIGURATION = """
load_module {module};
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit; {user}
events {{ worker_connections {connections}; }}
http {{
    access_log off; gzip off; tcp_nodelay on; keepalive_requests 1000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    nchan_message_buffer_length 1; nchan_message_timeout 1d;
    server {{
        listen {host}:{port} backlog=4096;
        location = /ready {{ return 200; }}
        location ~ ^/orders/(\\d+)$ {{ nchan_publisher; nchan_channel_id $1; }}
        location ~ ^/watch/([\\d,]+)$ {{
            nchan_subscriber websocket eventsource; nchan_subscriber_first_message oldest;
            nchan_channel_id $1; nchan_channel_id_split_delimiter ",";
        }}
    }}
}}
"""


def version() -> str | None:
    """Both versions."""
    if shutil.which("nginx") is None or not MODULE.exists():
        return None
    return "nginx {}, nchan {}".format(*(debian_version(name) or "?" for name in PACKAGES))


def cases(load: Load) -> list[Case]:
    """Sockets and streams; several resources are one channel each, over one connection."""
    serve = partial(serving, load)
    return [
        Case("nginx + nchan, WebSocket", "socket", serve, opening("socket", load), partial(_change, load)),
        Case("nginx + nchan, SSE", "stream", serve, opening("stream", load), partial(_change, load)),
    ]


@contextmanager
def serving(load: Load) -> Iterator[Group]:
    """nginx on a free port: its master, and the worker that does it all."""
    port = free_port()
    with TemporaryDirectory() as folder:
        file = Path(folder, "nginx.conf")
        file.write_text(_configuration(folder, port, load), encoding="ascii")
        process = subprocess.Popen(["nginx", "-c", str(file), "-e", f"{folder}/error.log", "-p", folder])
        try:
            worker = _worker(process)
            begin(port, load, _path)
            yield Group.of(port, (process.pid, worker))
        finally:
            _stop(process)


def _configuration(folder: str, port: int, load: Load) -> str:
    return CONFIGURATION.format(
        module=MODULE,
        folder=folder,
        host=HOST,
        port=port,
        connections=load.watchers * 16 // 15 + SPARE,
        # By itself it would give up root's rights, and the folder is root's then.
        user="user root;" if os.geteuid() == 0 else "",
    )


def _worker(master: subprocess.Popen[bytes]) -> int:
    """The worker's process, once there is one; the socket was listening before."""
    deadline = time.monotonic() + START_UP
    while master.poll() is None and time.monotonic() < deadline:
        if found := _children(master):
            return found[0]
        time.sleep(0.02)
    raise SystemExit("nginx did not start.")


def _children(master: subprocess.Popen[bytes]) -> list[int]:
    found = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text(encoding="ascii")
    return [int(each) for each in found.split()]


def _stop(master: subprocess.Popen[bytes]) -> None:
    """The worker would outlive a master that is killed."""
    master.terminate()
    try:
        master.wait(10)
    except subprocess.TimeoutExpired:
        for pid in _children(master):
            os.kill(pid, signal.SIGKILL)
        master.kill()
        master.wait()


def _path(number: int) -> str:
    return f"/orders/{number}"


def _change(load: Load, version: int) -> bytes:
    """A request for each resource."""
    found = states(load, version)
    return b"".join(wire.request("PUT", _path(number), document=it) for number, it in enumerate(found))


peer = Peer("nginx + nchan", version, cases, partial(apt, *PACKAGES))
