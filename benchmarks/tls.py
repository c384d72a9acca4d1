"""``python -m benchmarks.tls``: watchers over TLS, beside plain TCP through the same generator.

The certificate is made for the run, by ``openssl``. The generator is the one in Python, so that there are
fewer watchers, and the times until all are told are its own as much as the server's.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from . import rows
from .case import Load
from .crowd import Found, measure, show
from .generator import allow_files
from .table import machine
from .trial import trial


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=2000, help="watchers in each row (2000)")
    parser.add_argument("--changes", type=int, default=5, help="changes in each row (5)")
    given = parser.parse_args()
    allow_files()
    machine()
    load = Load(given.watchers)
    found: dict[str, Found] = {}
    with certificate() as options:
        plain = [rows.fast_socket(load), rows.fast_stream(load)]
        for case in (*plain, *rows.encrypted(load, options)):
            with trial(case, load, slow=True) as row:
                found[case.name] = measure(row, None, given.changes)
    show(f"{load.watchers} watchers of one resource, one change, with TLS and without", found)


@contextmanager
def certificate() -> Iterator[tuple[str, ...]]:
    """A self-signed certificate, as uvicorn's options."""
    with TemporaryDirectory() as folder:
        key, found = f"{folder}/key.pem", f"{folder}/certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-nodes", "-keyout", key, "-out", found, "-days", "1", "-subj", "/CN=127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        yield ("--ssl-keyfile", key, "--ssl-certfile", found)


if __name__ == "__main__":
    main()
