"""A process that ends operations and tells of them: ``hook_process.py database verb url count``.

``end`` ends them and dies at once as by a crash; ``tell`` waits for a line and tells until nothing is left.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from hook_receivers import Office, ended_operation

from restive.backends.sqlite import SqliteBackend

if __name__ == "__main__":
    database, verb, url, count = sys.argv[1:]
    office = Office(SqliteBackend(Path(database)), time.time)
    for _ in range(int(count)):
        ended_operation(office.store, webhook=url)
    print("ready", flush=True)
    if verb == "end":
        os._exit(9)
    sys.stdin.readline()
    office.notices.sweep()
    office.settled()
    office.notices.close(10)
