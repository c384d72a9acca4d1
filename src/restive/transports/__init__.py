"""Thin shells over the wire formats and the hub: how a watch's events reach a client over plain ASGI."""
