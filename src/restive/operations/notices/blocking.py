"""Awaiting a function that blocks, in a daemon thread of its own: one that hangs holds up nobody's exit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

__all__ = ["in_thread"]


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What ``function`` returns or raises. When this is cancelled, it goes on for nobody."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()

    def tell(outcome: tuple[Any, Exception | None]) -> None:
        if not done.cancelled():
            done.set_result(outcome)

    context = copy_context()

    def work() -> None:
        outcome = context.run(_outcome, function, arguments)
        try:
            loop.call_soon_threadsafe(tell, outcome)
        except RuntimeError:  # the loop is closed: nobody waits
            pass

    threading.Thread(target=work, name="restive-notice", daemon=True).start()
    result, error = await done
    if error is not None:
        raise error
    return result


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    try:
        return function(*arguments), None
    except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
        return None, error
    except BaseException as error:  # noqa: BLE001 - SystemExit ends what was called, and nothing else
        return None, RuntimeError(f"{type(error).__name__} was raised.")
