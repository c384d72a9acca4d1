"""``module:app`` on the command line: finds its folder, imports it, and says clearly why it cannot."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from functools import reduce
from pathlib import Path
from typing import Any

from .exits import EXIT_START_UP, Failure, sentence

__all__ = ["folder_of", "load", "search_in"]


def search_in(app_dir: str) -> None:
    """Let modules be found in ``app_dir``, as uvicorn does."""
    folder = str(Path(app_dir).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def folder_of(target: str) -> Path:
    """The folder of the module that ``target`` names; its parent packages are imported, itself is not."""
    module, _ = _names(target)
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    except Exception as error:
        raise _raised(module, error) from error
    if spec is None:
        raise Failure(
            f"There is no module {module!r} here. Run this in the app's folder, or name it with --app-dir.",
            EXIT_START_UP,
        )
    return Path(spec.origin).resolve().parent if spec.has_location and spec.origin else Path.cwd()


def load(target: str) -> Any:
    """The app that ``target`` names. Raises ``Failure`` with status 3."""
    module, attribute = _names(target)
    folder_of(target)
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        raise _raised(module, error) from error
    try:
        found = reduce(getattr, attribute.split("."), imported)
    except AttributeError:
        apps = [name for name, value in vars(imported).items() if _is_app(value)]
        hint = f" It has {', '.join(apps)}." if apps else ""
        raise Failure(f"The module {module!r} has no {attribute!r}.{hint}", EXIT_START_UP) from None
    if not callable(found):
        raise Failure(f"{target} is a {type(found).__name__}, which is no ASGI app.", EXIT_START_UP)
    return found


def _names(target: str) -> tuple[str, str]:
    module, colon, attribute = target.partition(":")
    if not module or (colon and not attribute):
        raise Failure(f"{target!r} names no app: write module:app, as in shop:app.", EXIT_START_UP)
    if module.endswith(".py") or "/" in module:
        near = module.removesuffix(".py").strip("./").replace("/", ".")
        raise Failure(f"{module!r} is a file: write the module, {near}:{attribute or 'app'}.", EXIT_START_UP)
    return module, attribute or "app"


def _is_app(value: Any) -> bool:
    from starlette.applications import Starlette

    from restive import Restive

    return isinstance(value, Starlette | Restive)


def _raised(module: str, error: Exception) -> Failure:
    """One line that names the place in the app where the import failed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = (__file__, importlib.__file__)
    outside = [frame for frame in frames if frame.filename not in ours and frame.filename[0] != "<"]
    said, where = sentence(error), f" ({outside[-1].filename}, line {outside[-1].lineno})" if outside else ""
    if isinstance(error, SyntaxError) and error.filename:
        said, where = error.msg, f" ({error.filename}, line {error.lineno})"
    return Failure(f"{module} cannot be imported: {type(error).__name__}: {said}{where}", EXIT_START_UP)
