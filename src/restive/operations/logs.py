"""Log records that say which operation they belong to."""

from __future__ import annotations

import logging

from .running import current

__all__ = ["OperationFilter"]


class OperationFilter(logging.Filter):
    """Adds ``operation`` to every log record: the id of the operation whose function logs it, else ``-``.

    Give it to a handler, and use ``%(operation)s`` in its format. It filters nothing out.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """True, always."""
        if not hasattr(record, "operation"):
            operation = current.get()
            record.operation = "-" if operation is None else operation.id
        return True
