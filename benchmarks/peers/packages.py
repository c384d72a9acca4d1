"""Debian's packages: what is installed, and how to install."""

from __future__ import annotations

import os
import shutil
import subprocess


def debian_version(package: str) -> str | None:
    """The version that is installed."""
    if shutil.which("dpkg-query") is None:
        return None
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Version}", package]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return found.removeprefix("ii ") if found.startswith("ii ") else None


def apt(*packages: str) -> None:
    """Install those that are missing. Raises ``OSError`` without apt-get, or without root's rights."""
    missing = [package for package in packages if debian_version(package) is None]
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise PermissionError(f"as root: {' '.join(command)}")
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
