"""The protocol's published packages for Node, installed once into the repository's ``.cache`` folder.

They are needed: where npm or node is missing the tests that use them fail.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent / "conformance"
CACHE = Path(__file__).parents[2] / ".cache" / "streams"


def installed() -> Path:
    """The folder with the packages and our scripts; tests of other processes wait meanwhile."""
    lock = (HERE / "package-lock.json").read_bytes()
    folder = CACHE / hashlib.sha256(lock).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for file in HERE.glob("*.js*"):
            shutil.copy(file, folder)
        if not (folder / "node_modules" / ".package-lock.json").exists():
            _run(["npm", "ci", "--no-audit", "--no-fund"], folder)
    return folder


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )
    except FileNotFoundError:
        raise RuntimeError(f"{command[0]} is missing: these tests need Node 20 or newer with npm.") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")


def node(script: list[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run something of the folder and wait for it."""
    return subprocess.run(
        script,
        cwd=installed(),
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
