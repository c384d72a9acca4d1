"""The app under the fault table: resources in files of its own, streams, and the crash test's operations.

Its files survive every kill and are shared by all nodes: what is wiped is Restive's backend, never they.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from fastapi import Body, HTTPException

from faults.fault_app import app, live
from faults.table.states import document

__all__ = ["app", "live"]

STORE = Path(os.environ["FAULTS_STORE"])
"""The folder of the resources."""


@app.get("/things/{name}")
def read(name: str) -> Any:
    try:
        return json.loads((STORE / name).read_bytes())
    except FileNotFoundError:
        return document(name, 0)


@app.put("/things/{name}")
def write(name: str, version: int = Body(embed=True)) -> Any:
    """Never backwards: a request that was stopped on its way may come late."""
    with (STORE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if version < read(name)["version"]:
            raise HTTPException(409, "There is a later version.")
        new = STORE / f"{name}.new"
        new.write_text(json.dumps(document(name, version)))
        new.replace(STORE / name)
    return document(name, version)


@app.get("/inside")
def inside() -> Any:
    """How many objects of Restive's there are in this process, by type."""
    gc.collect()
    names = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    counts = {name: count for name, count in names.items() if name.startswith("restive.")}
    return {"pid": os.getpid(), "counts": counts}


live.never("/inside")
live.stream("/logs/{name}", writable=True)
