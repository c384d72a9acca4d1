"""Functions that worker processes run: they find them here by their names."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel

from restive import Operation, Problem, Upload

logger = logging.getLogger("process_functions")
logging.getLogger("process_functions.named").addHandler(logging.StreamHandler(sys.stdout))


class Who(BaseModel):
    pid: int
    attempt: int
    folder: Path


def who(op: Operation) -> Who:
    return Who(pid=os.getpid(), attempt=op.attempt, folder=op.folder)


def double(number: int) -> int:
    return number * 2


async def adouble(number: int, op: Operation) -> int:
    op.report(completed=1)
    return number * 2


def raising(op: Operation) -> None:
    op.report(completed=3, total=7, unit="steps")
    raise LookupError("nothing here")


def refusing() -> None:
    raise Problem(409, "No", "Not today.", hint=7)


def unstorable() -> Any:
    return object()


def leaving() -> None:
    sys.exit(3)


def dying() -> None:
    os._exit(7)


def reporting(to: int, op: Operation) -> int:
    for number in range(to):
        op.report(completed=number + 1, total=to, unit="numbers", message=f"at {number + 1}")
    return os.getpid()


def phases(op: Operation) -> None:
    op.report(completed=100, unit="a")
    op.report(completed=1, unit="b")
    op.report(completed=3, unit="a")


def quiet_after(path: Path, op: Operation) -> None:
    """Two reports within one interval, and then none until the file is there."""
    op.report(completed=1)
    op.report(completed=2)
    while not path.exists():
        time.sleep(0.005)


def until(path: Path, op: Operation) -> str:
    """Waits for a file, as a function does that checks."""
    op.report(message=f"{os.getpid()}")
    while not path.exists():
        op.check()
        time.sleep(0.005)
    return "seen"


def deaf(path: Path, op: Operation) -> str:
    """As ``until``, but never checks."""
    op.report(message=f"{os.getpid()}")
    while not path.exists():
        time.sleep(0.005)
    return "seen"


async def auntil(path: Path, op: Operation) -> None:
    import asyncio

    op.report(message=f"{os.getpid()}")
    while not path.exists():
        await asyncio.sleep(0.005)


def parts(op: Operation) -> list[str]:
    first = op.part("a.txt", "alpha")
    with op.part("b.bin") as file:
        file.write(b"be")
        file.write(b"ta")
    op.part("left-open.txt").write(b"gamma")
    return [first]


def logging_(op: Operation) -> list[int]:
    """Logs, and says how many handlers the root and a logger with one of its own have."""
    logger.debug("too small to be seen")
    logger.warning("seen by %s", "the server")
    logging.getLogger("process_functions.named").warning("once")
    try:
        raise ValueError("inner")
    except ValueError:
        logger.exception("with a trace")
    return [len(logging.getLogger(name).handlers) for name in ("", "process_functions.named")]


def signals() -> list[int]:
    """The signals that the process did not die of, and those that a program of its own would."""
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    script = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    return [subprocess.run([sys.executable, "-c", script], check=False).returncode]


def forking(path: Path) -> int:
    """Leaves a forked child behind, which lives until the file is there."""
    child = os.fork()
    if child == 0:
        while not path.exists():
            time.sleep(0.01)
        os._exit(0)
    return child


def terminating(op: Operation) -> int | None:
    """Terminates a forked process of its own: its exit code."""
    process = multiprocessing.get_context("fork").Process(target=threading.Event().wait, args=[20])
    process.start()
    process.terminate()
    process.join()
    return process.exitcode


def leaving_thread() -> int:
    """Leaves a thread that keeps its process alive."""
    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


# op.map


def square(number: int) -> int:
    return number * number


def slow_square(number: int) -> tuple[int, int]:
    time.sleep(0.01)
    return number * number, os.getpid()


def mapping(to: int, op: Operation) -> int:
    return sum(op.map(square, range(to), unit="numbers"))


def mapping_until_helped(by: int, op: Operation) -> list[int]:
    """Goes on until so many processes have worked on its items: which these are."""
    processes: set[int] = set()
    for number, (square, pid) in enumerate(op.map(slow_square, itertools.count())):
        assert square >= 0
        processes.add(pid)
        if len(processes) == by:
            break
        assert number < 3000
    return sorted(processes)


def nested(op: Operation) -> int:
    def row(number: int) -> int:
        return sum(op.map(square, range(number)))

    return sum(op.map(row, range(12)))


def at_odds(number: int) -> int:
    time.sleep(0.002)
    if number == 13:
        raise KeyError("thirteen")
    return number


def mapping_badly(op: Operation) -> int:
    return sum(op.map(at_odds, range(40)))


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


def oddly(number: int) -> int:
    time.sleep(0.002)
    if number > 6:
        raise Odd(1, 2)
    return number


def mapping_oddly(op: Operation) -> str:
    try:
        list(op.map(oddly, range(40)))
    except (Odd, RuntimeError) as error:
        return repr(error)
    return "nothing"


def mortal(item: tuple[int, str]) -> int:
    """Ends the process that helps, never the caller's."""
    number, caller = item
    time.sleep(0.005)
    if number >= 4 and os.getpid() != int(caller):
        os._exit(9)
    return number


def mapping_mortals(op: Operation) -> int:
    return sum(op.map(mortal, [(number, str(os.getpid())) for number in range(400)]))


def whole(item: Any) -> int:
    return int(item())


def mapping_whole(op: Operation) -> int:
    """Items that cannot be pickled."""
    return sum(op.map(whole, [lambda number=number: number for number in range(30)]))


def unsendable(number: int) -> Any:
    time.sleep(0.002)
    return threading.Lock() if number > 6 else None


def mapping_unsendable(op: Operation) -> str:
    """Results that cannot be pickled are fine until somebody helps."""
    try:
        for _ in op.map(unsendable, itertools.count()):
            pass
    except TypeError as error:
        return str(error)
    return "nothing"


async def amapping(op: Operation) -> int:
    total = 0
    async for each in op.map(square, range(50)):
        total += each
    return total


def helped_while_waiting(path: Path) -> int:
    while not path.exists():
        time.sleep(0.005)
    return os.getpid()


def mapping_until(path: Path, op: Operation) -> list[int]:
    op.report(message=f"{os.getpid()}")
    return list(op.map(helped_while_waiting, [path] * 2))


# Over HTTP


def copied(file: Upload, op: Operation) -> str:
    return op.part("copy.bin", file.path.read_bytes())


def long(size: int) -> str:
    return "x" * size


def pid() -> int:
    return os.getpid()


def fill(sizes: Annotated[list[int], Query()], op: Operation) -> None:
    """A part of each of the sizes."""
    for number, size in enumerate(sizes):
        op.part(f"{number}.bin", b"x" * size)
