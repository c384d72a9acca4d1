"""Puts Restive's endpoint of RFC 6455 to the Autobahn Testsuite, all 517 cases, and prints what came of it.

    cd tests && python -m transports.autobahn [case …]

``wstest`` is its fuzzing client: ``pip install autobahntestsuite`` into a Python 2.7, and name it by
``WSTEST``. The status is 1 where a case fails. It takes half an hour; ``'[1-7].*' '10.*'`` some seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from scenarios.servers import ProcessServer

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
"""Text that is not UTF-8 is refused with the end of its message; an offer of permessage-deflate that asks for
a window of a certain size is declined, since one packed frame serves everybody."""


def results(server: ProcessServer, folder: Path, cases: list[str]) -> dict[str, dict[str, Any]]:
    """What became of each case."""
    spec = folder / "spec.json"
    agent = {"agent": "restive", "url": server.ws}
    spec.write_text(
        json.dumps(
            {
                "outdir": str(folder),
                "servers": [agent],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    command = [os.environ.get("WSTEST", "wstest"), "-m", "fuzzingclient", "-s", str(spec)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    found: dict[str, dict[str, Any]] = json.loads((folder / "index.json").read_text())["restive"]
    return found


def main(cases: list[str]) -> int:
    """Run ``cases`` (patterns). Returns the status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = ProcessServer("apps.echo:app", folder, runner="fast")
        try:
            found = results(server, folder, cases or ["*"])
        finally:
            server.stop()
    failed = 0
    for case, result in found.items():
        verdicts = {result["behavior"], result["behaviorClose"]}
        if verdicts != {"OK"}:
            print(case, *sorted(verdicts))
        failed += not verdicts <= GOOD
    print(len(found), "cases:", dict(Counter(result["behavior"] for result in found.values())))
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
