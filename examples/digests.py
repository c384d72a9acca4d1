"""A long job as a resource: it has progress, parts at URLs of their own, a result, and can be cancelled.

uvicorn digests:app
restive submit http://127.0.0.1:8000/digests -F file=@big.log
"""

import hashlib
from pathlib import Path

from fastapi import FastAPI

from restive import Operation, Restive, Upload

app = FastAPI()
live = Restive(app)

PIECE = 8 * 1024 * 1024


def digest_piece(piece: tuple[Path, int]) -> tuple[int, str]:
    """Runs on the engine, several at a time; only its piece of the file is in memory."""
    path, number = piece
    with path.open("rb") as file:
        file.seek(number * PIECE)
        return number, hashlib.sha256(file.read(PIECE)).hexdigest()


@live.operation("/digests")
def digest(file: Upload, op: Operation) -> dict[str, object]:
    """The SHA-256 of each 8 MiB of a file, and one over all of them."""
    count = -(-file.path.stat().st_size // PIECE)
    pieces = [(file.path, number) for number in range(count)]
    found: dict[int, str] = {}
    for number, sha in op.map(digest_piece, pieces, unit="pieces"):
        op.part(f"{number:05}.txt", sha)  # a URL from this moment on
        found[number] = sha
    together = hashlib.sha256("".join(found[n] for n in sorted(found)).encode())
    return {"pieces": len(found), "sha256": together.hexdigest()}
