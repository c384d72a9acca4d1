"""``python -m benchmarks``: every table, one after the other, each in a process of its own.

``--quick`` takes small counts, to see that all of it runs: its figures mean little. ``--only crowd`` is one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """One command."""

    module: str
    options: str = ""
    quick: str = ""
    """What is added for small counts."""


TABLES = {
    "crowd": Table("crowd", "--table crowd", "--watchers 1000 --changes 2"),
    "burst": Table("crowd", "--table burst", "--watchers 1000 --changes 2"),
    "private": Table("crowd", "--table private", "--watchers 500 --changes 2"),
    "tls": Table("tls", "", "--watchers 200 --changes 2"),
    "slow": Table("slow", "", "--watchers 1000 --deaf 100 --changes 20"),
    "storm": Table("storm", "", "--watchers 1000 --rounds 1"),
    "many": Table("many", "", "--watchers 2000 --servers 2"),
    "delay": Table("delay", "", "--rounds 50"),
    "reads": Table("reads", "", "--seconds 0.5 --rounds 1"),
    "looks": Table("looks", "", "--blocks 1 --count 20"),
    "digests": Table("digests", "", "--size 20"),
    "engines": Table("engines", "", "--calls 400"),
    "parts": Table("parts", "", "--size 20"),
    "operations": Table("operations", "", "--rounds 1 --queued 500"),
}


def main() -> None:
    """Run it; the exit status is 1 where a table failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small counts")
    parser.add_argument("--only", action="append", choices=TABLES, help="a table; may be repeated")
    given = parser.parse_args()
    failed = [name for name in given.only or TABLES if not shown(name, given.quick)]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def shown(name: str, quick: bool) -> bool:
    """Run one; whether it came to its end."""
    one = TABLES[name]
    command = ["-m", f"benchmarks.{one.module}", *one.options.split()]
    command += one.quick.split() if quick else []
    print(f"\n== {name}: python {' '.join(command)}\n", flush=True)
    begin = time.monotonic()
    code = subprocess.run([sys.executable, *command], check=False, stdin=subprocess.DEVNULL).returncode
    print(f"\n({time.monotonic() - begin:.0f} s)", flush=True)
    return code == 0


if __name__ == "__main__":
    main()
