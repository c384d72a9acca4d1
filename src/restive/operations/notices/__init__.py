"""Telling others how operations ended: webhooks (Standard Webhooks) and functions of the app.

A mark in the backend, left in the same batch as the final state, says that somebody is to be told. Any
process takes it up, so that a crash between the end and the delivery loses nothing: at least once.
"""

from .notices import Notices
from .ready import check_ready, check_url

__all__ = ["Notices", "check_ready", "check_url"]
