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
    "hub": {"http", "telemetry", "wire", *SHARED},
    "transports": {"http", "hub", "telemetry", "wire", *SHARED},
    "door": {"http", "hub", "telemetry", "transports", "wire", *SHARED},
    "operations": {"streams", "http", "hub", "backends", "telemetry", *SHARED},
    "streams": {"http", "hub", "backends", "telemetry", "wire", *SHARED},
    "backends": SHARED,
    "telemetry": {"backends", *SHARED},
    "client": {"wire", "errors"},
    "testing": {"backends", *SHARED},
}
ADAPTERS = {
    "memory": {"memory"},
    "sqlite": {"sqlite", "sqlite_commits", "sqlite_file", "sqlite_schema", "sqlite_steps"},
    "redis": {"redis"},
    "nats": {"nats"},
    "postgres": {"postgres"},
}
"""The modules and packages of each adapter, in ``restive.backends``."""


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


def adapter_of(module: tuple[str, ...]) -> str | None:
    """The adapter to which a module of ours belongs."""
    inside = module[1] if module[:1] == ("backends",) and module[1:] else ""
    return next((adapter for adapter, modules in ADAPTERS.items() if inside in modules), None)


@pytest.mark.parametrize(
    "package", ["operations", "streams", "door", "hub", "telemetry", "transports", "testing"]
)
def test_nobody_knows_a_backend_by_name(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert not [module for module in imports_of(file) if adapter_of(module)]


def test_adapters_know_nothing_of_each_other() -> None:
    for file in (ROOT / "backends").rglob("*.py"):
        own = adapter_of(file.relative_to(ROOT).with_suffix("").parts)
        found = {adapter_of(module) for module in imports_of(file)} - {None, own}
        assert not found or file == ROOT / "backends" / "__init__.py", f"{file} imports {found}"


@pytest.mark.parametrize("modules", ["restive", "restive.testing", "restive.backends.memory"])
def test_import_restive_loads_no_extra(modules: str) -> None:
    heavy = [
        *("uvicorn", "httpx2", "httpx", "websockets", "click", "rich", "fastapi", "sqlite3"),
        *("redis", "nats", "psycopg", "psycopg_pool", "celery", "distributed"),
        *("prometheus_client", "opentelemetry"),
    ]
    code = f"import sys, {modules}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
