"""Restive's metrics as Prometheus and OpenMetrics read them. Needs ``prometheus-client``.

``Collector`` puts them into a registry of the app's own; ``exposition`` is what ``/-/metrics`` answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector as AnyCollector

from . import metrics
from .instruments import Counter, Histogram, Metric
from .siblings import ask_all
from .snapshot import Sample, Snapshot

__all__ = ["Collector", "exposition"]


class Collector(AnyCollector):
    """Restive's metrics, for a registry: ``prometheus_client.REGISTRY.register(Collector())``.

    Where several processes serve the app, and are told so by ``RESTIVE_METRICS_DIR``, those of all of them,
    told apart by the label ``worker``, the process id.
    """

    def collect(self) -> Iterator[Family]:
        """The families of one scrape. Blocks for two seconds at most."""
        found = ask_all()
        for metric in metrics.ALL:
            yield _family(metric, found)

    def describe(self) -> Iterable[Family]:
        """The names, asked for when it is registered."""
        return [_family(metric, {}) for metric in metrics.ALL]


def exposition(accept: str) -> tuple[bytes, str]:
    """The text of a scrape and its Content-Type, in the format that ``accept`` asks for. Blocks."""
    registry = CollectorRegistry()
    registry.register(Collector())
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _family(metric: Metric, found: Mapping[str, Snapshot]) -> Family:
    several = "" not in found and bool(found)
    labels = (*metric.labels, "worker") if several else metric.labels
    if isinstance(metric, Counter):
        family: Family = CounterMetricFamily(metric.name, metric.text, labels=labels)
    elif isinstance(metric, Histogram):
        family = HistogramMetricFamily(metric.name, metric.text, labels=labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.text, labels=labels)
    for worker, snapshot in found.items():
        for sample in snapshot.get(metric.name, ()):
            if _fits(metric, sample):
                _add(family, metric, (*sample.labels, worker) if several else sample.labels, sample)
    return family


def _fits(metric: Metric, sample: Sample) -> bool:
    """Whether it is of this metric: while workers are replaced, one may be of another version."""
    buckets = len(metric.bounds) + 1 if isinstance(metric, Histogram) else 0
    return len(sample.labels) == len(metric.labels) and len(sample.counts) == buckets


def _add(family: Family, metric: Metric, labels: tuple[str, ...], sample: Sample) -> None:
    if isinstance(family, HistogramMetricFamily) and isinstance(metric, Histogram):
        family.add_metric(labels, list(_buckets(metric.bounds, sample.counts)), sample.value)
    elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        family.add_metric(labels, sample.value)


def _buckets(bounds: Iterable[float], counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    """The cumulative buckets; the last one has no bound."""
    below = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        below += count
        yield bound, below
