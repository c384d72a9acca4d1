"""Counting, and what is exported of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from scraped import Scrape

from restive.telemetry import metrics, prometheus, snapshot
from restive.telemetry.instruments import Counter, Histogram, Reading, sources
from restive.telemetry.snapshot import Sample


def test_a_counter_has_a_number_for_each_of_its_labels() -> None:
    counter = Counter("c", "", ["a", "b"])
    counter.of("1", "2").value += 3
    counter.of("1", "3").value += 4
    assert {labels: each.value for labels, each in counter.counts.items()} == {("1", "2"): 3, ("1", "3"): 4}
    assert counter.of("1", "2") is counter.of("1", "2")


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 99.0])))
def test_each_observation_is_in_one_bucket(values: list[float]) -> None:
    """The upper end of a bucket is part of it, as Prometheus has it."""
    spread = Histogram("h", "", [], [0.5, 1.0, 2.0]).of()
    for value in values:
        spread.observe(value)
    below = [sum(value <= bound for value in values) for bound in (0.5, 1.0, 2.0)]
    assert [sum(spread.counts[: n + 1]) for n in range(4)] == [*below, len(values)]
    assert spread.total == pytest.approx(sum(values))


class Room:
    def __init__(self, watches: float, up: float) -> None:
        self.watches, self.up = watches, up

    def readings(self) -> Iterator[Reading]:
        yield metrics.watches, (), self.watches
        yield metrics.backend_up, ("abacus",), self.up


def test_gauges_are_asked_of_those_who_live() -> None:
    gc.collect()
    (before,) = snapshot.take()["restive_watches"]
    rooms = [Room(3, 1), Room(4, 0)]
    for room in rooms:
        sources.add(room)
    taken = snapshot.take()
    assert taken["restive_watches"] == [Sample((), before.value + 7)]
    assert Sample(("abacus",), 0.0) in taken["restive_backend_up"]  # where one of two is down, it is down
    del rooms, room
    gc.collect()
    assert snapshot.take()["restive_watches"] == [before]


def test_a_snapshot_travels() -> None:
    metrics.look_seconds.of("first", "same").observe(0.3)
    taken = snapshot.take()
    assert snapshot.decode(snapshot.encode(taken)) == taken


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0", "text/plain"])
def test_prometheus_reads_what_is_exported(accept: str) -> None:
    metrics.lag_seconds.of().observe(0.02)
    data, content_type = prometheus.exposition(accept)
    assert ("openmetrics" in content_type) == ("openmetrics" in accept)
    read = Scrape(data.decode(), openmetrics="openmetrics" in accept)
    assert set(read.families) == {metric.name for metric in metrics.ALL}
    name = "restive_announcement_lag_seconds"
    buckets = [value for (n, _), value in read.series.items() if n == f"{name}_bucket"]
    assert buckets == sorted(buckets)
    assert read(f"{name}_count") == buckets[-1] == sum(metrics.lag_seconds.of().counts)
    assert read(f"{name}_sum") == pytest.approx(metrics.lag_seconds.of().total)


def test_names_and_labels_follow_the_conventions() -> None:
    for metric in metrics.ALL:
        assert metric.name.startswith("restive_")
        assert not metric.name.endswith("_total")  # added when it is exported
        assert isinstance(metric, Histogram) == metric.name.endswith("_seconds")
        assert metric.text.endswith(".")
        assert not {"worker", "le"} & set(metric.labels)


def test_the_collector_is_for_registries_of_the_app_too() -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(prometheus.Collector())
    assert Scrape(generate_latest(registry).decode())("restive_build_info") == 1


def test_what_another_version_says_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """While workers are replaced, one may know other buckets or labels."""
    odd = {
        "restive_announcement_lag_seconds": [Sample((), 1.0, (1, 2))],
        "restive_pushes": [Sample(("sse", "more"), 1.0), Sample(("sse",), 5.0)],
        "restive_unheard_of": [Sample((), 1.0)],
    }
    monkeypatch.setattr(prometheus, "ask_all", lambda: {"1": odd, "2": snapshot.take()})
    read = Scrape(prometheus.exposition("")[0].decode())
    assert read("restive_pushes_total", worker="1") == 5.0
    assert read("restive_announcement_lag_seconds_count", worker="1") == 0
    assert read.labels("restive_build_info", "worker") == {"2"}
