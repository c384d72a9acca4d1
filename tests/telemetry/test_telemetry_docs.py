"""docs/observe.md lists the metrics that there are, as they are exported."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from restive.telemetry import metrics, prometheus
from restive.telemetry.instruments import Counter

PAGE = Path(__file__).parents[2] / "docs" / "observe.md"
ROW = re.compile(r"^\| `(restive_\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", re.MULTILINE)


def listed() -> list[tuple[str, str, str, str]]:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert rows
    return rows


def test_the_list_is_what_is_exported() -> None:
    """Names, kinds and texts by what Prometheus' parser reads of an exposition."""
    families = text_string_to_metric_families(prometheus.exposition("")[0].decode())
    exported = [
        (family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation)
        for family in families
    ]
    assert [(name, kind, text) for name, kind, _, text in listed()] == exported


def test_the_labels_are_listed() -> None:
    wanted = {
        metric.name + ("_total" if isinstance(metric, Counter) else ""): [*metric.labels]
        for metric in metrics.ALL
    }
    assert {name: re.findall(r"`(\w+)`", labels) for name, _, labels, _ in listed()} == wanted


def test_queries_and_alerts_ask_for_what_there_is() -> None:
    known = {
        name + suffix
        for name, kind, _, _ in listed()
        for suffix in (("_bucket", "_count", "_sum", "") if kind == "histogram" else ("",))
    }
    assert set(re.findall(r"\brestive_\w+", PAGE.read_text(encoding="utf-8"))) <= known
