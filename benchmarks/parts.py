"""``python -m benchmarks.parts``: a big part to one reader and to many, against nginx serving the same file.

nginx is one process with ``sendfile``; Restive one uvicorn with uvloop. The rows take turns within each
round. Readers count what the kernel hands over and look at none of it, so that they take little of the CPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .server import HOST, Server, serving
from .table import machine, table
from .talk import Connection

MIB = 1 << 20
BUFFER = bytearray(MIB)
PATIENCE = 600.0
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 512; }}
http {{
    access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen {host}:{port}; location = /bulk.bin {{ alias {file}; }} }}
}}
"""


@dataclass
class Row:
    """One server and number of readers; MB/s and CPU seconds of the server per GB, of each round."""

    server: Server
    target: str
    readers: int
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def round(self, size: int) -> None:
        """Read it all."""
        before, begun = self.server.cpu(), time.perf_counter()
        download(self.server.port, self.target, self.readers, size)
        self.note(size, time.perf_counter() - begun, self.server.cpu() - before)

    def note(self, size: int, seconds: float, cpu: float) -> None:
        """What a round found."""
        moved = size * self.readers
        self.rates.append(moved / 1e6 / seconds)
        self.costs.append(cpu / (moved / 1e9))


def download(port: int, target: str, readers: int, size: int) -> None:
    """Read ``size`` bytes and more (the head, the chunks' lengths) at once on ``readers`` connections."""
    sockets = {each.fileno(): each for each in (asked(port, target) for _ in range(readers))}
    received = dict.fromkeys(sockets, 0)
    poll = select.epoll()
    for number in sockets:
        poll.register(number, select.EPOLLIN)
    while sockets:
        for number, _ in poll.poll(PATIENCE):
            count = sockets[number].recv_into(BUFFER, MIB, socket.MSG_TRUNC)
            received[number] += count
            if not count:
                poll.unregister(number)
                sockets.pop(number).close()
    poll.close()
    if not all(size < count < size * 1.01 + 2000 for count in received.values()):
        raise SystemExit(f"Not all was sent: {received}")


def asked(port: int, target: str) -> socket.socket:
    """A connection on which the part was asked for."""
    made = socket.create_connection((HOST, port))
    made.sendall(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    return made


def request(server: Server, method: str, target: str) -> tuple[bytes, bytes]:
    """Head and body of an answer."""
    connection = Connection(server.port)
    connection.send(method, target)
    answer = connection.answer()
    connection.close()
    return answer


def submit(server: Server, query: str) -> str:
    """The new operation's path."""
    _, body = request(server, "POST", f"/bulk?{query}")
    return str(json.loads(body)["links"]["self"])


def until(server: Server, target: str, status: bytes) -> None:
    """Wait for an answer whose body or status line has ``status`` in it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        head, body = request(server, "GET", target)
        if status in head.split(b"\r\n", 1)[0] or status in body:
            return
        time.sleep(0.05)
    raise SystemExit(f"{target} has not come to {status!r}")


def follow(server: Server, row: Row, mebibytes: int) -> None:
    """``row.readers`` follow a part while it is written."""
    path = submit(server, f"mebibytes={mebibytes}&waits=true")
    until(server, path, b'"running"')
    row.target = f"{path}/parts/bulk.bin"
    pid = os.fork()
    if not pid:
        time.sleep(0.5)  # by then all readers wait
        request(server, "POST", "/go")
        os._exit(0)
    before, begun = server.cpu(), time.perf_counter()
    download(server.port, row.target, row.readers, mebibytes * MIB)
    row.note(mebibytes * MIB, time.perf_counter() - begun - 0.5, server.cpu() - before)
    os.waitpid(pid, 0)
    request(server, "DELETE", path)


@contextlib.contextmanager
def nginx(file: Path, folder: str) -> Iterator[Server]:
    """nginx on a free port, with ``file`` as /bulk.bin."""
    if shutil.which("nginx") is None:
        raise SystemExit("This needs nginx: apt install nginx-light")
    with socket.create_server((HOST, 0)) as listener:
        port = int(listener.getsockname()[1])
    user = "user root;" if os.geteuid() == 0 else ""
    config = Path(folder, "nginx.conf")
    config.write_text(NGINX.format(folder=folder, host=HOST, port=port, file=file, user=user))
    process = subprocess.Popen(["nginx", "-c", str(config), "-e", f"{folder}/error.log", "-p", folder])
    try:
        for _ in range(200):
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((HOST, port)).close()
                break
            time.sleep(0.05)
        yield Server(process.pid, port)
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="mebibytes of the part (1000)")
    parser.add_argument("--readers", type=int, default=50, help="the many readers (50)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument("--in", dest="folder", default="/tmp", help="folder with room for twice that")
    given = parser.parse_args()
    machine()
    size = given.size * MIB
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="restive-parts-", dir=given.folder))
        os.environ["TMPDIR"] = folder  # the state folder of a memory: backend is a temporary one
        server = stack.enter_context(serving("benchmarks.bulk:app"))
        path = submit(server, f"mebibytes={given.size}")
        until(server, path, b'"succeeded"')
        (file,) = (each for each in Path(folder).glob("*/operations/*/parts/*/data"))
        other = stack.enter_context(nginx(file, folder))
        target = f"{path}/parts/bulk.bin"
        rows = {
            "nginx, 1 reader": Row(other, "/bulk.bin", 1),
            "restive, 1 reader": Row(server, target, 1),
            f"nginx, {given.readers} readers": Row(other, "/bulk.bin", given.readers),
            f"restive, {given.readers} readers": Row(server, target, given.readers),
        }
        for _ in range(given.rounds):
            for row in rows.values():
                row.round(size)
        followers = Row(server, "", given.readers)
        follow(server, followers, given.size)
        show(given.size, rows, followers, server.peak())


def show(size: int, rows: dict[str, Row], followers: Row, peak: int) -> None:
    """Print the table."""
    lines = []
    names = list(rows)
    for place, (name, row) in enumerate(rows.items()):
        base = rows[names[place - place % 2]]
        share = statistics.median(mine / its for mine, its in zip(row.rates, base.rates, strict=True))
        rate, cost = statistics.median(row.rates), statistics.median(row.costs)
        lines.append((name, rate, f"{share:.2f} x", cost, f"{cost / statistics.median(base.costs):.2f} x"))
    name = f"restive, {followers.readers} that follow it"
    lines.append((name, followers.rates[0], None, followers.costs[0], None))
    table(
        f"A part of {size} MiB",
        ("", "MB/s", "/ nginx", "server's CPU s/GB", "/ nginx"),
        lines,
    )
    print(f"\npeak RSS of the server: {peak / MIB:.0f} MiB")


if __name__ == "__main__":
    main()
