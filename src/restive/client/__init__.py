"""The Python client: ``AsyncClient``, and ``Client`` for code without ``await``.

    async with AsyncClient("https://shop.example") as client:
        async for state in client.watch("/orders/3"):
            print(state.data)

One machine without I/O (`machine`) decides everything; `origin` is the only shell round it.
"""

from .aio import AsyncClient
from .document import OperationState, Place
from .following import Follow
from .items import Batch
from .operation import AsyncOperation, Part
from .policy import Policy
from .state import State
from .sync import Client, Operation
from .watch import Watch

__all__ = [
    "AsyncClient",
    "AsyncOperation",
    "Batch",
    "Client",
    "Follow",
    "Operation",
    "OperationState",
    "Part",
    "Place",
    "Policy",
    "State",
    "Watch",
]
