"""The calls of ``apply_1``: batches in, results and Conflicts out.

A call whose answer did not come is not repeated: it may have been done. One that the server refused has
done nothing, so it is repeated where others were in its way, and batch by batch where one spoiled the rest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from psycopg import errors

from restive.errors import BackendUnavailable

from .commits import Batch, extra
from .connection import PatientConnection, lost
from .line import Line
from .schema import command
from .steps import conflict, encode, results

__all__ = ["Writing"]

ATTEMPTS = 5
CALL = "SELECT * FROM {}.apply_1(%b, %t, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)"

_IN_THE_WAY = (errors.SerializationFailure, errors.DeadlockDetected)


class Writing:
    """The writes of one app, on one connection."""

    def __init__(self, line: Line, app: bytes, schema: str, channel: str, patience: float) -> None:
        self._line = line
        self._app = app
        self._channel = channel
        self._patience = patience
        self._salt = schema.encode() + b"\0" + app
        self._statement = command(schema, CALL)

    def do(self, batches: Sequence[Batch], durable: bool) -> None:
        """Do the batches, and set what became of each. Raises BackendUnavailable where that is unknown."""
        try:
            self._do(batches, durable)
        except BackendUnavailable as error:
            if error.__cause__ is None or lost(error.__cause__):
                raise
            self._one_by_one(batches, durable, error)

    def _one_by_one(self, batches: Sequence[Batch], durable: bool, error: BackendUnavailable) -> None:
        """The server refused them together: one of them may be the reason, and harms no other."""
        deadline = time.monotonic() + self._patience
        for batch in batches:
            batch.error = BackendUnavailable(str(error))
            if len(batches) == 1 or time.monotonic() > deadline:
                continue
            try:
                self._do([batch], durable)
            except BackendUnavailable as refused:
                batch.error = refused

    def _do(self, batches: Sequence[Batch], durable: bool) -> None:
        arguments = encode([batch.steps for batch in batches], self._salt)
        patience = self._patience + extra(batches)
        values = (self._app, self._channel, durable, *arguments)

        def call(connection: PatientConnection) -> tuple[list[str | None], list[int]]:
            connection.patience = patience
            for _ in range(ATTEMPTS - 1):
                try:
                    return self._call(connection, values)
                except _IN_THE_WAY:
                    continue
            return self._call(connection, values)

        texts, conflicts = self._line.call(call)
        done = 0
        for batch, found in zip(batches, conflicts, strict=True):
            steps = batch.steps
            if found:
                batch.error = conflict(steps[found - 1 - done])
            else:
                batch.error = None
                batch.results = results(steps, texts[done : done + len(steps)])
            done += len(steps)

    def _call(
        self, connection: PatientConnection, values: tuple[object, ...]
    ) -> tuple[list[str | None], list[int]]:
        row = connection.execute(self._statement, values, binary=True).fetchone()
        assert row is not None
        return row[0], row[1]
