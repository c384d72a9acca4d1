"""Log records of functions in worker processes: they are sent to the server, and logged there."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .messages import Log

__all__ = ["Levels", "Sender", "hand_over", "levels", "replay"]

Levels = tuple[tuple[str, int], ...]
"""Names of loggers with their levels; the root's is empty."""

LONGEST = 16_384
"""Characters of a message, and of a traceback, that are kept."""

FORMATTER = logging.Formatter()


class Sender(logging.Handler):
    """Sends each record as one of the call that runs in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.send: Callable[[Log], None] | None = None
        self.job = 0
        self._levels: Levels = ()

    def begin(self, send: Callable[[Log], None], job: int, now: Levels) -> None:
        """From now on records are of that call."""
        self.send, self.job = send, job
        if now != self._levels:
            self._levels = now
            for name, level in now:
                logging.getLogger(name).setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Send it; what cannot be sent is lost with the server."""
        if self.send is None:
            return
        try:
            trace = FORMATTER.formatException(record.exc_info) if record.exc_info else record.exc_text
            self.send(
                Log(
                    self.job,
                    record.name,
                    record.levelno,
                    record.created,
                    record.getMessage()[:LONGEST],
                    trace[-LONGEST:] if trace else None,
                    record.pathname,
                    record.lineno,
                    record.funcName or "",
                    record.threadName or "",
                )
            )
        except Exception:  # noqa: BLE001 - as every handler does it
            self.handleError(record)


def levels() -> Levels:
    """Of all loggers that have one of their own."""
    root = logging.getLogger()
    known = list(root.manager.loggerDict.items())
    own = [(name, each.level) for name, each in known if isinstance(each, logging.Logger) and each.level]
    return (("", root.level), *own)


def hand_over(sender: Sender) -> None:
    """Let ``sender`` have all records, and nobody else: the server's handlers get them."""
    root = logging.getLogger()
    root.handlers[:] = [sender]
    for each in list(root.manager.loggerDict.values()):
        if isinstance(each, logging.Logger) and each.handlers:
            each.handlers.clear()
            each.propagate = True


def replay(message: Log, identity: str) -> None:
    """Log a record that came from a worker, as the operation's."""
    logger = logging.getLogger(message.name)
    if not logger.isEnabledFor(message.level):
        return
    logger.handle(
        logging.makeLogRecord(
            {
                "name": message.name,
                "levelno": message.level,
                "levelname": logging.getLevelName(message.level),
                "msg": message.text,
                "created": message.created,
                "msecs": (message.created % 1) * 1000,
                "exc_text": message.trace,
                "pathname": message.path,
                "filename": message.path.rpartition("/")[2],
                "lineno": message.line,
                "funcName": message.function,
                "threadName": message.thread,
                "operation": identity,
            }
        )
    )
