"""`python -m faults`: many schedules on one backend, in several processes, and a table of what happened.

A violation is printed with its seed; `--seed N --schedules 1` repeats that schedule on the same fleet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults.history import Fault, History
from faults.validators import Violation

from .arena import Arena
from .events import Appended, Put, Read, Told, Wiped
from .promises import judge
from .schedule import BLOCK, Schedule, schedule, shape
from .stores import BACKENDS


@dataclass
class Outcome:
    """Of one schedule."""

    seed: int
    seconds: float
    faults: list[str]
    counts: dict[str, int]
    violations: list[str] = field(default_factory=list)
    told: str = ""


def blocks(seed: int, count: int) -> Iterator[list[int]]:
    """The seeds, those that share a fleet together."""
    seeds = list(range(seed, seed + count))
    while seeds:
        block = [each for each in seeds if each // BLOCK == seeds[0] // BLOCK]
        yield block
        seeds = seeds[len(block) :]


async def run_seeds(backend: str, seeds: list[int], kept: Path | None) -> AsyncIterator[Outcome]:
    """Carry out schedules of one block on one fleet, or on another one after an error of the arena itself."""
    left = list(seeds)
    while left:
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
            arena, fit = Arena(backend, shape(backend, left[0]), Path(name)), True
            try:
                await arena.start()
                while left and fit:
                    outcome, fit = await run_one(arena, left.pop(0), kept)
                    yield outcome
            finally:
                await arena.stop()


async def run_one(arena: Arena, seed: int, kept: Path | None) -> tuple[Outcome, bool]:
    """One schedule's outcome, and whether its fleet can be used again."""
    plan, begun, history, fit = (
        schedule(arena.backend, seed),
        time.monotonic(),
        History(),
        True,
    )
    try:
        await arena.run(plan, history)
        violations = judge(history)
    except Exception as error:
        violations, fit = [Violation("arena", "", f"{error!r}"[:3000])], False
    told = explain(plan, history, violations, begun) if violations else ""
    if told and kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        (kept / f"{arena.backend}-{seed}.txt").write_text(f"{told}\n{arena.logs()}")
    return (
        Outcome(
            seed,
            time.monotonic() - begun,
            [fault.what for fault in history.of(Fault)],
            counts(history),
            [str(each) for each in violations],
            told,
        ),
        fit,
    )


def counts(history: History) -> dict[str, int]:
    """What happened in it."""
    return {
        "writes": sum(each.status == 200 for each in history.of(Put)),
        "told": len(history.of(Told)),
        "appends": sum(each.status in {200, 204} for each in history.of(Appended)),
        "items read": sum(len(each.items) for each in history.of(Read)),
        "operations": len(history.acknowledged()),
        "wipes": len(history.of(Wiped)),
    }


def explain(plan: Schedule, history: History, violations: list[Violation], begun: float) -> str:
    """The seed, the violations, and everything that happened in the schedule."""
    lines = [f"seed {plan.seed}: {plan}", *(f"- {each}" for each in violations)]
    events = sorted(history.events, key=lambda it: it.at)
    lines += [f"{each.at - begun:8.3f} {each}" for each in events]
    lines += [f"{each.at - begun:8.3f} {each}" for each in history.notes]
    return "\n".join(lines)


# The command


class Tally:
    """What all outcomes so far add up to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self.outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Count it, and say so where it is a violation."""
        with self._lock:
            self.outcomes.append(outcome)
            for violation in outcome.violations:
                print(f"VIOLATED seed {outcome.seed}: {violation[:600]}", flush=True)
            if outcome.told and self._options.verbose:
                print(outcome.told, flush=True)
            if len(self.outcomes) % BLOCK == 0:
                minutes = (time.monotonic() - self._begun) / 60
                print(f"… {len(self.outcomes)} schedules in {minutes:.1f} min", file=sys.stderr, flush=True)

    def table(self) -> str:
        """What is printed at the end."""
        faults = Counter(each for outcome in self.outcomes for each in outcome.faults)
        total = sum((Counter(outcome.counts) for outcome in self.outcomes), Counter[str]())
        failed = [outcome for outcome in self.outcomes if outcome.violations]
        minutes = (time.monotonic() - self._begun) / 60
        rows = [
            ("backend", self._options.backend),
            (
                "schedules",
                f"{len(self.outcomes)}, seeds {self._options.seed} and following, {minutes:.1f} min",
            ),
            ("faults", f"{faults.total()}: " + ", ".join(f"{n} {what}" for what, n in faults.most_common())),
            ("what clients did", ", ".join(f"{n} {what}" for what, n in total.items())),
            ("violations", f"{sum(len(each.violations) for each in failed)} in {len(failed)} schedules"),
            ("their seeds", ", ".join(str(each.seed) for each in failed) or "none"),
        ]
        return "\n".join(f"{name:18}{text}" for name, text in rows)


def in_this_process(options: argparse.Namespace, tally: Tally) -> None:
    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, task.cancel
        )  # and every server is ended
        for seeds in blocks(options.seed, options.schedules):
            async for outcome in run_seeds(options.backend, seeds, options.kept):
                if options.json:
                    print(json.dumps(asdict(outcome)), flush=True)
                else:
                    tally.add(outcome)

    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


def in_several(options: argparse.Namespace, tally: Tally) -> None:
    """A process for each block, some of them at once."""

    def run(seeds: list[int]) -> None:
        command = [sys.executable, "-m", "faults", "--json", "--backend", options.backend]
        command += ["--seed", str(seeds[0]), "--schedules", str(len(seeds)), "--kept", str(options.kept)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                tally.add(Outcome(**json.loads(line)))
        if process.returncode:
            tally.add(Outcome(seeds[0], 0.0, [], {}, [f"the run ended with {process.returncode}"]))

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, blocks(options.seed, options.schedules)))


def main() -> None:
    """The command. Its status is 1 where a promise was violated."""
    parser = argparse.ArgumentParser(prog="python -m faults", description="Run the fault table.")
    parser.add_argument("--backend", choices=BACKENDS, default="sqlite")
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first schedule; each further one has the next"
    )
    parser.add_argument("--jobs", type=int, default=1, help="fleets at once, each in a process of its own")
    parser.add_argument(
        "--kept", type=Path, default=Path("faults-kept"), help="folder for violated histories"
    )
    parser.add_argument("--verbose", action="store_true", help="print the history of what was violated")
    parser.add_argument("--json", action="store_true", help="print one line for each schedule")
    options = parser.parse_args()
    tally = Tally(options)
    (in_this_process if options.jobs == 1 or options.json else in_several)(options, tally)
    if not options.json:
        print(tally.table())
        sys.exit(any(outcome.violations for outcome in tally.outcomes))
