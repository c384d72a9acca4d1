"""The root command: finds a command's file when it is called, and turns errors into one line and a status."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from ..errors import BackendError, ClientError, Problem, RestiveError, SettingError, Unreachable
from .exits import EXIT_INTERRUPTED, EXIT_START_UP, EXIT_UNREACHABLE, Failure, sentence

COMMANDS = {
    "serve": "serve",
    "demo": "serve",
    "watch": "watch",
    "submit": "submit",
    "follow": "submit",
    "operations": "operations",
    "changed": "changed",
    "check": "check",
    "version": "version",
}
"""Each command and the file it is in, in the order in which ``--help`` lists them."""

PACKAGES = {
    "uvicorn": "server",
    "httpx2": "client",
    "websockets": "client",
    "rich": "cli",
    "fastapi": "fastapi",
    "python_multipart": "fastapi",
}
"""Packages that a command may miss, and the extra that brings each."""


class Root(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{COMMANDS[cmd_name]}", __package__), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            raise  # click ends quietly when nobody reads the output any more
        except (RestiveError, OSError, ImportError) as error:
            raise failure(error) from error


def failure(error: Exception) -> Failure:
    """What is said of an exception, and the exit status that goes with it."""
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if isinstance(error, Unreachable):
        return Failure(sentence(error), EXIT_UNREACHABLE)
    if isinstance(error, SettingError | BackendError | ImportError):
        return Failure(sentence(error), EXIT_START_UP)
    if isinstance(error, ClientError | Problem):
        return Failure(sentence(error))
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return Failure(f"{where}{error.strerror}.")
    return Failure(sentence(error))


def _missing(error: ModuleNotFoundError) -> Failure:
    extra = PACKAGES.get(error.name or "")
    if extra is None:
        raise error
    return Failure(f'This needs {error.name}: pip install "restive[{extra}]"', EXIT_START_UP)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="restive", message="restive %(version)s")
def restive() -> None:
    """Makes a REST API live.

    Serve an app, watch what it answers, run long operations and follow them.
    """
