"""The value of every metric at one moment, and how one process tells it to another."""

from __future__ import annotations

import functools
import platform
from importlib import metadata

import msgspec

from . import metrics
from .instruments import Counter, Gauge, Histogram, Labels, Source, sources

__all__ = ["Sample", "Snapshot", "decode", "encode", "take"]


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One number, or one histogram: the counts of its buckets, and ``value`` is their sum."""

    labels: Labels
    value: float
    counts: tuple[int, ...] = ()


Snapshot = dict[str, list[Sample]]
"""Samples by the name of their metric."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Snapshot).decode


def take() -> Snapshot:
    """The values in this process, from any thread."""
    read = _gauges()
    found: Snapshot = {}
    for metric in metrics.ALL:
        if isinstance(metric, Counter):
            found[metric.name] = [Sample(k, each.value) for k, each in list(metric.counts.items())]
        elif isinstance(metric, Histogram):
            spreads = list(metric.spreads.items())
            found[metric.name] = [Sample(k, each.total, tuple(each.counts)) for k, each in spreads]
        else:
            found[metric.name] = [Sample(k, value) for k, value in read.get(metric.name, {}).items()]
    return found


def _gauges() -> dict[str, dict[Labels, float]]:
    found: dict[str, dict[Labels, float]] = {
        metric.name: {(): 0.0} for metric in metrics.ALL if isinstance(metric, Gauge) and not metric.labels
    }
    for source in _living():
        for gauge, labels, value in source.readings():
            values = found.setdefault(gauge.name, {})
            values[labels] = gauge.combine(values[labels], value) if labels in values else float(value)
    found[metrics.build_info.name] = {_build(): 1.0}
    return found


def _living() -> list[Source]:
    while True:
        try:
            return list(sources)
        except RuntimeError:  # another thread has made one in this moment
            continue


@functools.cache
def _build() -> Labels:
    """The values of the labels of ``build_info``."""
    return (metadata.version("restive"), platform.python_version(), "C" if metrics.native else "Python")
