"""Uploads are on disk before the 202, bounded, and leave nothing behind when they are cut off."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import tempfile
import tracemalloc

import pytest
from fastapi import File, Form, UploadFile

from restive import operations
from restive.operations import Operation, Upload, forms


async def test_an_upload_is_a_file_of_the_operation(bench, gate, home):
    seen = {}

    @bench.operation("/digests")
    def digest(file: UploadFile, op: Operation) -> str:
        gate.wait(10)
        assert isinstance(file, Upload)
        seen.update(
            path=file.path, name=file.filename, type=file.content_type, size=file.size, folder=op.folder
        )
        return file.file.read().decode()

    files = {"file": ("../../etc/pass wd.txt", b"some words", "text/x-log")}
    response = await bench.client.post("/digests", files=files)
    assert response.status_code == 202
    stored = [path for path in home.rglob("*") if path.is_file() and path.suffix == ".txt"]
    assert [path.read_bytes() for path in stored] == [b"some words"]
    gate.set()
    final = await bench.done(response.headers["location"])
    assert final["result"] == "some words"
    assert seen["name"] == "../../etc/pass wd.txt"
    assert (seen["type"], seen["size"]) == ("text/x-log", 10)
    assert seen["path"] == stored[0]
    assert seen["path"].is_relative_to(seen["folder"])
    assert not seen["path"].is_symlink()


async def test_uploads_in_every_form(bench):
    @bench.operation("/forms")
    async def form(
        one: Upload,
        title: str = Form(),
        many: list[UploadFile] = File(default=[]),  # noqa: B008
        raw: bytes = File(default=b""),
        maybe: Upload | None = None,
    ) -> list:
        return [
            (await one.read()).decode(),
            title,
            [(await each.read()).decode() for each in many],
            len(raw),
            maybe is None,
        ]

    files = [("one", b"1"), ("many", b"2"), ("many", b"3"), ("raw", b"\xff\x00")]
    sent = [(name, (f"{name}.bin", data)) for name, data in files]
    final = await bench.run("/forms", files=sent, data={"title": "T"})
    assert final["result"] == ["1", "T", ["2", "3"], 2, True]


async def test_bytes_survive_being_stored(bench):
    @bench.operation("/raws")
    def raw(data: bytes = File()) -> int:
        assert data == bytes(range(256))
        return len(data)

    final = await bench.run("/raws", files={"data": ("d", bytes(range(256)))})
    assert final["result"] == 256


async def test_a_body_over_the_limit_is_a_413(new_bench, home):
    bench = new_bench(max_upload=10_000)

    @bench.operation("/digests")
    def digest(file: UploadFile) -> None: ...

    declared = await bench.client.post("/digests", files={"file": b"x" * 20_000})
    assert declared.status_code == 413
    assert declared.headers["content-type"] == "application/problem+json"

    async def body():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(20):
            yield b"x" * 1000
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    chunked = await bench.client.post("/digests", content=body(), headers=headers)
    assert chunked.status_code == 413
    assert not list(home.rglob("*/*"))


async def test_an_upload_cut_off_in_the_middle_leaves_nothing(bench, home, serve, tmp_path, monkeypatch):
    """Not the operation, not its folder, not the temporary file that the form was read into."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    ran = []

    @bench.operation("/digests")
    def digest(file: UploadFile) -> None:
        ran.append(file)

    server = serve(bench.app, log_level="critical")
    head = b"POST /digests HTTP/1.1\r\nHost: app\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    head += b"Content-Length: 9000000\r\n\r\n--b\r\n"
    head += b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n'

    def upload() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + b"x" * 4_000_000)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            while connection.recv(65536):
                pass

    await asyncio.to_thread(upload)
    assert (await bench.run("/digests", files={"file": b"whole"}))["status"] == "succeeded"
    assert len(ran) == 1
    assert len(list((home / "operations").iterdir())) == 1
    assert len(bench.host.backend.scan("operation/")) == 1


def refuse_unnamed(monkeypatch) -> None:
    def unsupported(_):
        raise OSError(errno.EOPNOTSUPP, "as on a file system that cannot")

    monkeypatch.setattr(forms, "_unnamed", unsupported)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
async def test_an_upload_is_written_once(bench, monkeypatch):
    monkeypatch.setattr(shutil, "copyfileobj", None)

    @bench.operation("/digests")
    def digest(file: UploadFile) -> int:
        return len(file.path.read_bytes())

    for size in (0, 10, 3_000_000):
        assert (await bench.run("/digests", files={"file": bytes(size)}))["result"] == size


async def test_a_disk_that_is_full_while_the_body_comes_is_a_507(bench, monkeypatch):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> None: ...

    monkeypatch.setattr(forms, "_unnamed", lambda _: open("/dev/full", "wb"))  # noqa: SIM115
    response = await bench.client.post("/digests", files={"file": bytes(100_000)})
    assert response.status_code == 507
    assert bench.host.backend.scan("operation") == []


async def test_where_no_file_can_be_without_a_name_uploads_are_copied(bench, monkeypatch):
    refuse_unnamed(monkeypatch)

    @bench.operation("/digests")
    def digest(file: UploadFile) -> int:
        return len(file.file.read())

    for size in (10, 3_000_000):
        assert (await bench.run("/digests", files={"file": bytes(size)}))["result"] == size


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", 400),
        (b"no form at all", 400),
        (b"", 422),
    ],
)
async def test_a_body_that_is_no_form_is_refused(bench, content, status):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> None: ...

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = await bench.client.post("/digests", content=content, headers=headers)
    assert response.status_code == status
    assert bench.host.backend.scan("operation") == []


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EACCES, 503)])
async def test_a_disk_that_takes_nothing_is_a_clear_problem(bench, home, monkeypatch, number, status):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> None: ...

    def refuse(*_):
        raise OSError(number, os.strerror(number), str(home))

    refuse_unnamed(monkeypatch)
    monkeypatch.setattr(shutil, "copyfileobj", refuse)
    response = await bench.client.post("/digests", files={"file": b"data"})
    assert response.status_code == status
    assert str(home) not in response.text
    assert bench.host.backend.scan("operation") == []
    assert not list(home.rglob("uploads"))


async def test_a_folder_that_cannot_be_made_is_a_clear_problem(bench, home):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> None: ...

    (home / "operations").write_text("in the way")
    response = await bench.client.post("/digests", files={"file": b"data"})
    assert response.status_code == 503
    assert "retry-after" in response.headers
    os.unlink(home / "operations")
    assert (await bench.client.post("/digests", files={"file": b"data"})).status_code == 202


async def test_arguments_that_are_too_long_ask_for_a_file(bench):
    @bench.operation("/texts")
    def text(words: list[str]) -> None: ...

    response = await bench.client.post("/texts", json=["x" * 1_000_000])
    assert response.status_code == 413
    assert "Upload a file" in response.json()["detail"]
    assert bench.host.backend.scan("operation") == []


async def test_copying_takes_no_memory_by_size(bench):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> int:
        return file.size

    async def body():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(512):
            yield bytes(65536)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    tracemalloc.start()
    try:
        final = await bench.run("/digests", content=body(), headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert final["result"] == 512 * 65536
    assert peak < 12 * 1024 * 1024


def test_the_public_names():
    assert operations.__all__ == ["Host", "Operation", "OperationFilter", "Operations", "PartFile", "Upload"]
