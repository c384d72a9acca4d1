"""``python -m benchmarks.digests``: a big file through the demo's /digests, against ``LC_ALL=C wc`` on it.

The server is ``restive serve`` with the demo's app; the file is sent by Restive's own client. The counts are
compared with those of ``wc``, so a fast wrong answer does not pass.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from restive import Client

from .server import Server, running
from .table import machine, ratio, table

MB = 1_000_000
WORDS = (
    *("the", "of", "and", "to", "in", "is", "was", "for", "café", "naïve", "東京", "restive", "watcher"),
    *("0x1f", "42", "3.14", "<tag>", "a;b;c", "ERROR", "—", "\x07"),
)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="megabytes of the file (1000)")
    parser.add_argument("--in", dest="folder", default="/tmp", help="folder with room for three times that")
    given = parser.parse_args()
    machine()
    with tempfile.TemporaryDirectory(prefix="restive-benchmark-", dir=given.folder) as folder:
        # Uploads go through the temporary folder too: the same disk, and it is gone at the end.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        file = Path(folder, "mixed.txt")
        write_mixed(file, given.size * MB)
        counted, seconds = wc(file)
        serve = (sys.executable, "-m", "restive.cli", "serve", "restive.demo:app", "--log-level", "warning")
        with running(serve, folder) as server:
            with Peak(server) as peak:
                found = submit(server, file)
            compare(found["result"], counted)
            show(file.stat().st_size, seconds, found, peak, server.peak())


def write_mixed(file: Path, size: int) -> None:
    """Text of words in several scripts, lines of many lengths, some bytes that are no UTF-8."""
    source = random.Random(2)
    block = bytearray()
    while len(block) < 4 * MB:
        count = int(source.expovariate(1 / 12))
        words = [
            source.choice(WORDS) if source.random() < 0.6 else f"w{source.randrange(200_000)}"
            for _ in range(count)
        ]
        block += " ".join(words).encode() + source.choice((b"\n", b"\n", b"\t\n", b"\r\n", b"\xff\n"))
    with file.open("wb") as out:
        for start in range(0, size, len(block)):
            out.write(block[: size - start])


def wc(file: Path) -> tuple[tuple[int, int, int], float]:
    """Lines, words and bytes, and the median time of three runs with the file in the page cache."""
    taken, said = [], b""
    for _ in range(3):
        begin = time.perf_counter()
        command = ["wc", "-lwc", str(file)]
        said = subprocess.run(command, env={"LC_ALL": "C"}, capture_output=True, check=True).stdout
        taken.append(time.perf_counter() - begin)
    lines, words, size = map(int, said.split()[:3])
    return (lines, words, size), statistics.median(taken)


class Peak:
    """The server's memory while something goes on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.before = self.highest = server.memory()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.highest = max(self.highest, self._server.memory())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def submit(server: Server, file: Path) -> dict[str, Any]:
    """The operation's last document, and ``seconds``: of the upload until 202, of the work, of all."""
    cpu, begin = server.cpu(), time.perf_counter()
    with Client(server.url, timeout=None) as client, file.open("rb") as body:
        response = client.post("/digests", files={"file": (file.name, body)})
        response.raise_for_status()
        accepted = time.perf_counter()
        operation = client.operation(response)
        operation.result()
        end = time.perf_counter()
        found = operation.status()
    started, finished = (datetime.fromisoformat(found[name]) for name in ("started", "finished"))
    found["seconds"] = {
        "upload": accepted - begin,
        "work": (finished - started).total_seconds(),
        "all": end - begin,
        "cpu": server.cpu() - cpu,
    }
    return found


def compare(result: dict[str, int], counted: tuple[int, int, int]) -> None:
    """Both counted the same, or this ends."""
    ours = (result["lines"], result["words"], result["bytes"])
    if ours != counted:
        raise SystemExit(f"/digests counted {ours}, wc {counted}")


def show(size: int, seconds: float, found: dict[str, Any], peak: Peak, rss: int) -> None:
    """Print the tables."""
    rows: list[tuple[object, ...]] = [("LC_ALL=C wc", seconds, size / MB / seconds, ratio(1, 1))]
    names = {"work": "/digests, counting", "upload": "/digests, upload until 202", "all": "/digests, all"}
    for key, name in names.items():
        taken = found["seconds"][key]
        rows.append((name, taken, size / MB / taken, ratio(taken, seconds)))
    rows.append(("server's CPU", found["seconds"]["cpu"], None, ratio(found["seconds"]["cpu"], seconds)))
    table(f"{size / MB:.0f} MB, counts equal to those of wc", ("", "seconds", "MB/s", "time / wc"), rows)
    table(
        f"Memory of the server ({found['parts']} parts)",
        ("", "MB"),
        [
            ("PSS before", peak.before / MB),
            ("PSS at its peak", peak.highest / MB),
            ("RSS at its peak", rss / MB),
            ("above what it was, as a share of the file", f"{(peak.highest - peak.before) / size:.1%}"),
        ],
    )


if __name__ == "__main__":
    main()
