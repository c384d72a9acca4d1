"""Uploads of operations that run on machines with other state folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from restive.operations.files import Files, FilesPlace
from restive.operations.upload import StoredUpload


@pytest.mark.parametrize("kind", ["folder", "remote"])
def test_an_upload_goes_to_the_depot_and_comes_back_on_another_machine(tmp_path, kind):
    parts = str(tmp_path / "depot") if kind == "folder" else f"memory://{tmp_path.name}"
    here, there = (Files(lambda home=home: FilesPlace(tmp_path / home, parts)) for home in ("a", "b"))
    path = here.upload("it", 0, "x.txt")
    path.write_bytes(b"abc")
    key = here.send_upload("it", path)
    assert not path.exists()
    fetched = there.fetched("it", StoredUpload("", 3, "x.txt", None, key))
    assert Path(fetched.path).read_bytes() == b"abc"
    assert str(tmp_path / "b") in fetched.path
    here.remove("it", True)
    third = Files(lambda: FilesPlace(tmp_path / "c", parts))
    with pytest.raises(FileNotFoundError):
        third.fetched("it", StoredUpload("", 3, "x.txt", None, key))
    assert here.identity() == here.identity() != there.identity()
