"""Operations: long work as a resource (design 4.4).

``registry`` declares and mounts, ``routes`` and ``endpoints`` speak HTTP, ``service`` finds and changes,
``runner`` runs, ``store`` and ``files`` keep. Decisions are in ``record``, ``progress`` and ``arguments``.
"""

from .handle import Operation
from .partfile import PartFile
from .registry import Host, Operations
from .upload import Upload

__all__ = ["Host", "Operation", "Operations", "PartFile", "Upload"]
