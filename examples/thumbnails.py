"""Thumbnails of uploaded images, or of a folder: made in processes, each at a URL as soon as it is there.

pip install 'restive[standard]' pillow
uvicorn examples.thumbnails:app
restive submit http://127.0.0.1:8000/thumbnails -F images=@cat.jpg -F images=@dog.png
"""

import io
import os
from pathlib import Path

from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel

from restive import Operation, Problem, Restive, Upload

app = FastAPI()
live = Restive(app)

PICTURES = Path(os.environ.get("PICTURES", "pictures")).absolute()


class Thumbnails(BaseModel):
    made: list[str]
    unreadable: list[str]


def thumbnail(image: tuple[str, Path]) -> tuple[str, bytes | None]:
    """Runs in any worker process that is idle; takes and returns what can be pickled."""
    name, path = image
    small = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.thumbnail((256, 256))
            picture.convert("RGB").save(small, "WEBP")
    except (OSError, ValueError, Image.DecompressionBombError):
        return name, None
    return name, small.getvalue()


def make(images: list[tuple[str, Path]], op: Operation) -> Thumbnails:
    done = Thumbnails(made=[], unreadable=[])
    for name, small in op.map(thumbnail, images, unit="images"):
        if small is None:
            done.unreadable.append(name)
        else:
            done.made.append(op.part(f"{name}.webp", small, media_type="image/webp"))
    return done


@live.operation("/thumbnails", engine="processes", retries=1)
def uploaded(images: list[Upload], op: Operation) -> Thumbnails:
    """Thumbnails of the uploaded images."""
    return make([(f"{n}-{Path(it.filename or '').stem}", it.path) for n, it in enumerate(images)], op)


@live.operation("/folders", engine="processes", retries=1)
def folder(name: str, op: Operation) -> Thumbnails:
    """Thumbnails of all images of a folder below PICTURES."""
    chosen = (PICTURES / name).resolve()
    if not chosen.is_relative_to(PICTURES.resolve()) or not os.path.isdir(chosen):
        raise Problem(404, "There is no such folder")
    files = sorted(path for path in chosen.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    return make([(path.name, path) for path in files], op)
