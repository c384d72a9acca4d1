"""What curl users type becomes the request that curl would send."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click
import httpx2
import pytest

from restive.cli.fields import headers_of, json_body, multipart


def told(_: int) -> None:
    return None


def test_a_field_with_a_value_is_sent_as_it_is() -> None:
    with ExitStack() as files:
        body = multipart(["name=a=b", "name=c", "empty="], files, told)
    assert body.arguments["data"] == {"name": ["a=b", "c"], "empty": [""]}
    assert body.size == 0


def test_a_file_is_streamed_with_its_length_known_and_its_bytes_counted(tmp_path: Path) -> None:
    path = tmp_path / "big file.log"
    path.write_bytes(b"x" * 200_000)
    counted: list[int] = []
    with ExitStack() as files:
        body = multipart([f"file=@{path}"], files, counted.append)
        request = httpx2.Request("POST", "http://localhost/", **body.arguments)
        content = b"".join(request.stream)  # type: ignore[arg-type, union-attr]
    assert body.size == 200_000
    assert int(request.headers["content-length"]) == len(content)
    assert b'name="file"; filename="big file.log"' in content
    assert sum(counted) == 200_000
    assert max(counted) <= 65_536


def test_type_and_filename_can_be_named_as_in_curl(tmp_path: Path) -> None:
    path = tmp_path / "a;b=c"
    path.write_bytes(b"{}")
    with ExitStack() as files:
        body = multipart([f"file=@{path};filename=x.json;type=application/json"], files, told)
    ((_, (filename, _, media_type)),) = body.arguments["files"]
    assert (filename, media_type) == ("x.json", "application/json")


def test_the_length_of_a_pipe_is_not_claimed_to_be_known(tmp_path: Path) -> None:
    import os

    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    os.write(writer, b"some bytes")
    with ExitStack() as files:
        body = multipart([f"file=@{fifo}"], files, told)
        request = httpx2.Request("POST", "http://localhost/", **body.arguments)
    os.close(writer)
    assert body.size is None
    assert request.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("field", ["", "name", "=value"])
def test_what_is_no_field_is_refused(field: str) -> None:
    with ExitStack() as files, pytest.raises(click.UsageError, match="is no field"):
        multipart([field], files, told)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with ExitStack() as files, pytest.raises(FileNotFoundError, match="nothing-here"):
        multipart([f"file=@{tmp_path}/nothing-here"], files, told)


def test_headers_are_taken_apart_at_the_first_colon() -> None:
    assert headers_of(["Authorization: Bearer a:b", "X-Y:z"]) == {"Authorization": "Bearer a:b", "X-Y": "z"}


@pytest.mark.parametrize("line", ["no colon", ": value", "A: b\r\nC: d"])
def test_what_is_no_header_is_refused(line: str) -> None:
    with pytest.raises(click.UsageError, match="is no header"):
        headers_of([line])


def test_json_is_sent_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_bytes(b'{"a": 1}')
    for given in ('{"a": 1}', f"@{tmp_path}/body.json"):
        body = json_body(given)
        assert body.arguments["content"] == b'{"a": 1}'
        assert body.arguments["headers"] == {"Content-Type": "application/json"}
