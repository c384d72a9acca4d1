"""Who may import whom (design section 5), read from the source; and what `import restive` loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import restive

ROOT = Path(restive.__file__).parent
SHARED = {"errors", "settings"}
MAY = {
    "http": {"errors"},
    "wire": {"errors"},
    "hub": {"http", "wire", *SHARED},
    "transports": {"http", "hub", "wire", *SHARED},
    "door": {"http", "hub", "transports", "wire", *SHARED},
    "operations": {"http", "hub", "backends", *SHARED},
    "backends": SHARED,
    "client": {"wire", "errors"},
    "testing": {"backends", *SHARED},
}
ADAPTERS = {"memory", "sqlite", "sqlite_commits", "sqlite_file", "sqlite_schema", "sqlite_steps"}


def imports_of(file: Path) -> set[tuple[str, ...]]:
    """The modules of ours that a file imports, as paths below ``restive``."""
    package = file.relative_to(ROOT).parts[:-1]
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = tuple((node.module or "").split(".")) if node.module else ()
            names = [()] if module else [(alias.name,) for alias in node.names]
            found.update((*base, *module, *name) for name in names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "restive":
            module = tuple((node.module or "").split(".")[1:])
            found.update((*module, alias.name) for alias in node.names)
    return found


@pytest.mark.parametrize("package", sorted(MAY))
def test_packages_import_only_what_they_may(package: str) -> None:
    broken = [
        f"{file.relative_to(ROOT)} imports {'.'.join(module)}"
        for file in (ROOT / package).rglob("*.py")
        for module in imports_of(file)
        if module and module[0] != package and module[0] not in MAY[package]
    ]
    assert broken == []


@pytest.mark.parametrize("package", ["operations", "door", "hub"])
def test_nobody_knows_a_backend_by_name(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert not [m for m in imports_of(file) if m[:1] == ("backends",) and m[1:2] and m[1] in ADAPTERS]


def test_import_restive_loads_no_extra() -> None:
    heavy = [
        "uvicorn",
        "httpx2",
        "httpx",
        "websockets",
        "click",
        "rich",
        "fastapi",
        "redis",
        "nats",
        "celery",
        "sqlite3",
    ]
    code = f"import sys, restive; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
