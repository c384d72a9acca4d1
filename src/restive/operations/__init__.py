"""Operations: long work as a resource (design 4.4).

``registry`` declares and mounts, ``routes`` and ``endpoints`` speak HTTP, ``service`` finds and changes,
``runner`` runs what ``queue`` says is next on one of the ``engines``, ``store`` and ``files`` keep,
``notices`` tell of the end. Decisions are in ``record``, ``queue``, ``progress`` and ``arguments``.
"""

from .handle import Operation
from .logs import OperationFilter
from .partfile import PartFile
from .registry import Host, Operations
from .upload import Upload

__all__ = ["Host", "Operation", "OperationFilter", "Operations", "PartFile", "Upload"]
