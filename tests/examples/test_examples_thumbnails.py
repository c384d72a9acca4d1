"""The thumbnails: of uploads and of a folder, by worker processes, each a part."""

from __future__ import annotations

import io

import pytest
from PIL import Image


def picture(kind: str, size: tuple[int, int] = (900, 600), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def read(example, url: str) -> Image.Image:
    answer = example.client.get(url)
    assert answer.headers["content-type"] == "image/webp"
    return Image.open(io.BytesIO(answer.content))


@pytest.fixture(scope="module")
def served(example, tmp_path_factory):
    pictures = tmp_path_factory.mktemp("pictures")
    (pictures / "holiday").mkdir()
    for name, data in (("b.jpg", picture("JPEG")), ("a.PNG", picture("PNG")), ("c.txt", b"no image")):
        (pictures / "holiday" / name).write_bytes(data)
    return example("thumbnails", PICTURES=str(pictures))


def test_uploaded_images(served):
    sent = [
        ("cat.jpg", picture("JPEG")),
        ("tall.png", picture("PNG", (100, 1000), "RGBA")),
        ("tiny.gif", picture("GIF", (3, 2), "P")),
        ("broken.jpg", picture("JPEG")[:200]),
        ("empty.png", b""),
    ]
    document = served.run("/thumbnails", files=[("images", each) for each in sent])
    assert document["status"] == "succeeded", document
    made = {url.rpartition("/")[2]: read(served, url).size for url in document["result"]["made"]}
    assert made == {"0-cat.webp": (256, 171), "1-tall.webp": (26, 256), "2-tiny.webp": (3, 2)}
    assert sorted(document["result"]["unreadable"]) == ["3-broken", "4-empty"]
    progress = document["progress"]
    assert (progress["completed"], progress["total"], progress["unit"]) == (5, 5, "images")
    assert document["parts"] == 3


def test_a_folder(served):
    document = served.run("/folders", params={"name": "holiday"})
    assert sorted(url.rpartition("/")[2] for url in document["result"]["made"]) == [
        "a.PNG.webp",
        "b.jpg.webp",
    ]


@pytest.mark.parametrize("name", ["nowhere", "../", "/etc", "holiday/b.jpg", "long" * 100])
def test_a_folder_that_is_not_there(served, name):
    document = served.run("/folders", params={"name": name})
    assert (document["status"], document["error"]["title"]) == ("failed", "There is no such folder")
