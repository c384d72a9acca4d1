"""The schema of a PostgreSQL backend: made on first use, checked by each new connection.

Processes that come at once make it once: whoever makes it holds a lock. A schema of a newer Restive is
refused; where the user may not make one, the error says what somebody who may has to run.
"""

from __future__ import annotations

import logging
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import errors

from restive.errors import BackendUnavailable

__all__ = ["GONE", "VERSION", "command", "prepare", "statements", "warn"]

VERSION = 1
OLDEST = 130000
"""PostgreSQL 13 has ``gen_random_uuid()``."""

LOCK = 1383298166
"""The first key of Restive's advisory locks, as in schema.sql: the letters ``Rstv``."""

GONE: tuple[type[psycopg.Error], ...] = (
    errors.UndefinedTable,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
    errors.UndefinedColumn,
)
"""What the server says where the schema, or a part of it, is not there (any more)."""

_log = logging.getLogger("restive.backends")

Connection = psycopg.Connection[tuple[Any, ...]]


def statements(schema: str) -> str:
    """The SQL that makes everything in ``schema``, whose name needs no quotes."""
    text = files(__package__).joinpath("schema.sql").read_text("utf-8")
    return text.replace("restive.", f'"{schema}".').replace("EXISTS restive;", f'EXISTS "{schema}";')


def command(schema: str, text: str) -> bytes:
    """A statement; ``{}`` in it stands for the schema, whose name needs no quotes."""
    return text.replace("{}", f'"{schema}"').encode()


def prepare(connection: Connection, schema: str, server: str) -> None:
    """Check the schema, or make it. Raises BackendUnavailable, and what psycopg raises."""
    if connection.info.server_version < OLDEST:
        raise BackendUnavailable(f"{server} is older than version 13. Upgrade it.")
    version = _version(connection, schema)
    if version is None:
        _create(connection, schema, server)
        version = _version(connection, schema)
    if version is None:
        raise BackendUnavailable(f"{server}: {_foreign(schema)}")
    if version > VERSION:
        raise BackendUnavailable(
            f'{server}: the schema "{schema}" is of a newer Restive (version {version}). Upgrade restive.'
        )


def _foreign(schema: str) -> str:
    return f'the schema "{schema}" is of another application, or not complete. Name another with ?schema=.'


def _version(connection: Connection, schema: str) -> int | None:
    """The version of the schema; None where there is none."""
    try:
        row = connection.execute(command(schema, "SELECT max(version) FROM {}.about")).fetchone()
    except GONE:
        return None
    assert row is not None
    version: int | None = row[0]
    return version


def _create(connection: Connection, schema: str, server: str) -> None:
    """Make all in one transaction, unless another process was first."""
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, -1)", (LOCK,))
            if _exists(connection, schema):
                return
            connection.execute(statements(schema).encode())
    except errors.InsufficientPrivilege as error:
        raise BackendUnavailable(
            f"{server}: this user may not make the schema {schema!r} ({error.diag.message_primary}). Let one "
            f"who may run what `python -m restive.backends.postgres {schema}` prints, and grant its use."
        ) from error
    except (errors.DuplicateTable, errors.DuplicateFunction) as error:
        raise BackendUnavailable(f"{server}: {_foreign(schema)}") from error
    _log.info("%s: made the schema %s.", server, schema)


def _exists(connection: Connection, schema: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", (f'"{schema}".about',)).fetchone()
    return row is not None and row[0] is not None


def warn(connection: Connection, server: str) -> None:
    """Log where what is acknowledged does not outlive a crash of this server."""
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
        if row == ("off",):
            _log.warning("%s has %s = off: a crash may lose what was acknowledged.", server, setting)
