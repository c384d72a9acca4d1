"""The crash test in the long: operations under kills, stops and restarts, judged by validators.

Each run has a seed, which repeats its plan: `python -m benchmarks.crashes --seed 17 --runs 1`. With
`--points` it is one operation, and a server that is killed, then stopped, before each of its changes.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults.driver import Driver
from faults.history import Fault
from faults.plans import plan
from faults.point_runs import STORIES, PointDriver, point_plan
from faults.validators import Violation, judge
from faults.verdicts import explain


def run(driver: Driver, name: str, kept: Path) -> tuple[str, Counter[str]]:
    """What is to be said of one run (nothing where all is well), and what happened in it."""
    try:
        history = asyncio.run(driver.run())
        violations = judge(history)
    except Exception as error:
        history = driver.history
        violations = [Violation("driver", "", repr(error)[:3000])]
    done = Counter(each.what for each in history.of(Fault))
    views = filter(None, map(history.verdict, history.acknowledged()))
    done.update(f"{v.document['status']} in attempt {v.document['attempt']}" for v in views if v.document)
    if not violations:
        shutil.rmtree(driver.folder)
        return "", done
    text = explain(driver.plan, history, violations, driver.begun)
    kept.mkdir(parents=True, exist_ok=True)
    (kept / f"{name}.txt").write_text(text)
    shutil.move(driver.folder, kept / driver.folder.name)
    return text, done


def random_runs(options: argparse.Namespace) -> Iterator[tuple[str, Driver]]:
    """Runs at random, one for each seed."""
    for seed in range(options.seed, options.seed + options.runs):
        yield f"seed-{seed}", Driver(plan(seed, tuple(options.engines.split(","))), folder(f"seed-{seed}"))


def point_runs(options: argparse.Namespace) -> Iterator[tuple[str, Driver]]:
    """One run for each point at which a server can be killed, or stopped."""
    for kind in STORIES:
        if not options.only.startswith(kind[: len(options.only)]):
            continue
        counting = PointDriver(point_plan(kind), folder(f"{kind}-count"), "count")
        text, _ = run(counting, f"{kind}-count", options.kept)
        print(f"{kind}: {counting.points} points {text}", flush=True)
        for what in ("kill", "stop"):
            for number in range(1, counting.points + 1):
                name = f"{kind}-{what}-{number}"
                if not name.startswith(options.only):
                    continue
                yield name, PointDriver(point_plan(kind), folder(name), what, number)


def folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"crash-{name}-"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one has the next")
    parser.add_argument("--engines", default="threads,processes")
    parser.add_argument("--points", action="store_true", help="harm a server at each of its points instead")
    parser.add_argument("--only", default="", help="with --points: what names begin with, as follow-stop-3")
    parser.add_argument("--kept", type=Path, default=Path("crashes"), help="folder for what failed")
    parser.add_argument("--verbose", action="store_true", help="print the history of what failed")
    options = parser.parse_args()
    begun, count, failed, done = time.monotonic(), 0, [], Counter()
    for name, driver in (point_runs if options.points else random_runs)(options):
        text, happened = run(driver, name, options.kept)
        count, done = count + 1, done + happened
        if text:
            failed.append(name)
            print(text if options.verbose else text.partition("\n   ")[0], flush=True)
        minutes = (time.monotonic() - begun) / 60
        print(f"{name}: {'VIOLATED' if text else 'ok'} ({count} runs, {minutes:.1f} min)", flush=True)
    print(f"what happened: {dict(sorted(done.items()))}")
    print(f"{count - len(failed)} of {count} runs without a violation; failed: {failed}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
