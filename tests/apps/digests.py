"""One operation that takes an upload, for servers that share a store."""

from __future__ import annotations

from fastapi import FastAPI, UploadFile

from restive import Restive

app = FastAPI()
live = Restive(app, lease=1.0)


@live.operation("/digests")
def digest(file: UploadFile) -> int:
    return len(file.file.read())
