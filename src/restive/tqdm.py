"""tqdm whose bars, inside an operation, are the operation's progress.

    from restive.tqdm import tqdm  # instead of: from tqdm import tqdm

Outside of operations this is tqdm. Inside, a bar reports and prints nothing: the outermost counts, and what
is open within it is told as the message. Bars of one unit that follow each other count on, since progress
never goes back. ``op.map`` counts its items by itself: bars in them and around it are messages.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import io
import math
import operator
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import Any

try:
    from tqdm.asyncio import tqdm_asyncio  # type: ignore[import-untyped]
    from tqdm.std import tqdm as std_tqdm  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError(
        'restive.tqdm needs tqdm, which is not installed: pip install "restive[tqdm]"'
    ) from error

from .errors import Canceled, Interrupted
from .operations.handle import Operation
from .operations.mapping import Mapping
from .operations.running import current, mapped

__all__ = ["tqdm", "trange"]

PACE = 0.001
"""Seconds from one report of a bar to the next in a loop that is faster than that."""

BURST = 100
"""How many reports may come at once after a while without."""

PARAMETERS = [name for name in inspect.signature(std_tqdm.__init__).parameters if name != "self"]


class tqdm(tqdm_asyncio):  # type: ignore[misc]  # noqa: N801
    """A progress bar with the parameters, methods and attributes of ``tqdm.tqdm``.

    In an operation ``update``, and so an iteration, raises what ``Operation.check`` raises. What is about
    looks, ``file`` and ``disable=None`` mean nothing there; a bar with ``disable=True`` is not reported.
    """

    _operation: Operation | None = None
    _board: _Board | None = None
    _due = _paced = 0.0

    def __init__(self, iterable: Any = None, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(PARAMETERS[1:], args, strict=False)) | kwargs
        operation = current.get()
        if operation is None and mapped.get():
            given["disable"] = True  # an item of an op.map, in a process that runs no operation
        elif operation is not None and not given.get("disable"):
            self._operation = operation
            given |= {"file": io.StringIO(), "disable": False, "miniters": 0, "mininterval": 0, "delay": 0}
        std_tqdm.__init__(self, iterable, **given)
        if self._operation is not None:
            self._board = _board_of(self._operation)
            self._board.open(self, mapped.get(), isinstance(iterable, Mapping))
            self.refresh()

    # tqdm_asyncio begins its iterable when the bar is made; here it is begun when it is iterated.
    @cached_property
    def iterable_awaitable(self) -> bool:
        """Whether ``async for`` awaits the items."""
        return hasattr(self.iterable, "__aiter__")

    @cached_property
    def iterable_next(self) -> Callable[[], Any | Awaitable[Any]]:
        """What gives ``async for`` the next item."""
        source: Any = aiter(self.iterable) if self.iterable_awaitable else iter(self.iterable)
        following: Callable[[], Any] = source.__anext__ if self.iterable_awaitable else source.__next__
        return following

    def __iter__(self) -> Iterator[Any]:
        items: Iterator[Any] = super().__iter__() if self._operation is None else self._reporting()
        return items

    def _reporting(self) -> Iterator[Any]:
        more = 0
        try:
            for item in self.iterable:
                yield item
                more += 1
                if monotonic() >= self._due:
                    counted, more = more, 0
                    self.update(counted)
        finally:
            self.n += more
            self.close()

    def update(self, n: float = 1) -> bool | None:
        """Count ``n`` more. In an operation this raises what ``Operation.check`` raises."""
        if self._operation is None or self.disable:
            shown: bool | None = super().update(n)
            return shown
        now = monotonic()
        if now < self._due:
            self.n += n
            return None
        self._paced = max(self._paced, now) + PACE
        self._due = self._paced - BURST * PACE
        super().update(n)
        if self._is_here():
            self._operation.check()
        return True

    def refresh(self, nolock: bool = False, lock_args: tuple[Any, ...] | None = None) -> bool | None:
        """Show the bar as it is, now."""
        if self._operation is None:
            shown: bool | None = super().refresh(nolock=nolock, lock_args=lock_args)
            return shown
        if self.disable or self._board is None:
            return None
        try:
            self._board.say(self._operation)
        except (Canceled, Interrupted):
            # nolock: tqdm's own thread, or its write(). A thread that is not the function's cannot end it.
            if not nolock and self._is_here():
                raise
        return True

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Print the bar, outside of operations."""
        shown: bool | None = super().display(msg, pos) if self._operation is None else False
        return shown

    def reset(self, total: float | None = None) -> None:
        """Begin to count anew."""
        if self._board is not None:
            self._board.restart(self)
        super().reset(total)

    def close(self) -> None:
        """End the bar. Never raises: what the operation is to be told, the next call tells it."""
        if self._board is not None and self._operation is not None and not self.disable and self._is_here():
            with contextlib.suppress(Canceled, Interrupted):
                self._board.close(self, self._operation)
        super().close()

    def _is_here(self) -> bool:
        """Whether it is the operation's function that calls, which can be ended, and be made to wait."""
        return current.get() is self._operation and not getattr(_collecting, "now", False)


def trange(*args: int, **kwargs: Any) -> tqdm:
    """``tqdm(range(*args), **kwargs)``."""
    return tqdm(range(*args), **kwargs)


# The garbage collector closes forgotten loops, on any thread, whatever locks that thread holds just then.
_collecting = threading.local()


def _note_collection(phase: str, _info: dict[str, int]) -> None:
    _collecting.now = phase == "start"


gc.callbacks.append(_note_collection)


class _Tally:
    """The count of an operation's bars, one after the other: within one unit it never goes back."""

    def __init__(self) -> None:
        self._unit: str | None = None
        self._base: float = 0
        self._done: float = 0
        self._total: float | None = None

    def restart(self) -> None:
        """What is counted next comes on top of what was."""
        self._base = self._done

    def count(
        self, n: float, total: float | None, unit: str | None
    ) -> tuple[float, float | None, str | None]:
        """What is completed, in all, of which unit, now that a bar says so."""
        if unit != self._unit:
            self._unit, self._base, self._done, self._total = unit, 0, 0, None
        self._done = max(self._done, self._base + n)
        if total is not None:
            self._total = self._base + total
        if self._total is not None:
            self._total = max(self._total, self._done)
        return self._done, self._total, unit


@dataclass(frozen=True, slots=True)
class _Open:
    """A bar that was not closed yet."""

    found: weakref.ref[tqdm]
    of_item: bool
    """It is within an item of an ``op.map``."""
    of_map: bool
    """It is round an ``op.map``."""


class _Board:
    """The open bars of one operation, the outermost first, and what they say together."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a bar may be collected while this thread holds it
        self._bars: list[_Open] = []
        self._tally = _Tally()
        self._told = False

    def open(self, bar: tqdm, of_item: bool, of_map: bool) -> None:
        """``bar`` is the innermost from now on."""
        with self._lock:
            self._bars.append(_Open(weakref.ref(bar), of_item, of_map))
            if self._counting() is bar:  # not ==: tqdm's compares positions
                self._tally.restart()

    def restart(self, bar: tqdm) -> None:
        """``bar`` is about to begin at 0 again, or gone."""
        with self._lock:
            if self._counting() is bar:
                self._tally.count(*_figures(bar))
                self._tally.restart()

    def close(self, bar: tqdm, operation: Operation) -> None:
        """Report the last of ``bar``, or what the others say without it."""
        with self._lock:
            mine = next((each for each in self._bars if each.found() is bar), None)
            if mine is None:
                return
            counted = self._counting() is bar
            try:
                if counted:
                    self.say(operation)
            finally:
                self.restart(bar)
                self._bars = [each for each, other in self._known() if other is not bar]
            if self._bars and not counted:
                self.say(operation)
            elif mine.of_item and not self._bars:
                operation.report(message="")

    def say(self, operation: Operation) -> None:
        """Report the open bars. Raises as ``Operation.report`` does."""
        with self._lock:
            bars = self._known()
            if not bars:
                return
            counting, message = self._counting(), self._message(bars)
            if counting is not None:
                operation.report(*self._tally.count(*_figures(counting)), message)
            elif message is not None:
                operation.report(message=message)

    def _known(self) -> list[tuple[_Open, tqdm]]:
        known = ((each, each.found()) for each in self._bars)
        return [(each, bar) for each, bar in known if bar is not None and not bar.disable]

    def _counting(self) -> tqdm | None:
        """The outermost bar, unless an ``op.map`` counts."""
        known = self._known()
        return known[0][1] if known and not (known[0][0].of_item or known[0][0].of_map) else None

    def _message(self, bars: list[tuple[_Open, tqdm]]) -> str | None:
        (outer, bar), *inner = bars
        texts = [_line(bar) if outer.of_item else _label(bar), *(_line(bar) for _, bar in inner)]
        message = " · ".join(filter(None, texts))
        if not message and not self._told:
            return None  # what the function itself has said stays
        self._told = True
        return message


_boards: weakref.WeakKeyDictionary[Operation, _Board] = weakref.WeakKeyDictionary()
_making = threading.RLock()


def _board_of(operation: Operation) -> _Board:
    with _making:
        return _boards.setdefault(operation, _Board())


def _figures(bar: tqdm) -> tuple[float, float | None, str | None]:
    """How many of how many of what, as ``Operation.report`` takes it."""
    scale = 1 if bar.unit_scale in {None, False, True} else _number(bar.unit_scale) or 1
    n, total = _number(bar.n), _number(bar.total)
    return (n or 0) * scale, None if total is None else total * scale, str(bar.unit or "").strip() or None


def _number(value: Any) -> float | None:
    """NumPy's numbers as Python's; None for what is no count."""
    try:
        return max(0, operator.index(value))
    except TypeError:
        pass
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _label(bar: tqdm) -> str:
    """What the bar is about, and its postfix."""
    about = str(bar.desc or "").strip().removesuffix(":")
    return ", ".join(filter(None, (about, str(bar.postfix or ""))))


def _line(bar: tqdm) -> str:
    """The bar in a few words."""
    n, total, unit = _figures(bar)
    counts = [_brief(each, bar) for each in (n, total) if each is not None]
    return ": ".join(filter(None, (_label(bar), " ".join(filter(None, ("/".join(counts), unit))))))


def _brief(number: float, bar: tqdm) -> str:
    if bar.unit_scale:
        return str(bar.format_sizeof(number, divisor=bar.unit_divisor))
    return str(number) if isinstance(number, int) else f"{number:g}"
