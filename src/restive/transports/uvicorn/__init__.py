"""The fast path under uvicorn: protocol classes that let the app take the bare transport over (design 6).

``restive serve`` uses them. So does ``uvicorn --ws restive.transports.uvicorn:WebSocket --http
restive.transports.uvicorn:Http shop:app``. What the app does not take over goes to uvicorn's own classes.
"""

from .http import Http
from .socket import WebSocket

__all__ = ["Http", "WebSocket"]
