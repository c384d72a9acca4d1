"""What Prometheus reads of a scrape, by Prometheus' own parsers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

OPEN = "application/openmetrics-text; version=1.0.0"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """One answer of ``/-/metrics``."""

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        families = list((open_families if openmetrics else plain_families)(text))
        self.families = {family.name: family for family in families}
        self.series: Series = {}
        for family in families:
            for sample in family.samples:
                name = sample.name, frozenset(sample.labels.items())
                assert name not in self.series, f"{name} is there twice"
                self.series[name] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the series of this name whose labels include these."""
        wanted = labels.items()
        return sum(value for (n, found), value in self.series.items() if n == name and wanted <= set(found))

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {dict(found)[label] for n, found in self.series if n == name}


async def scrape(http: httpx2.AsyncClient, url: str, **headers: str) -> Scrape:
    answer = await http.get(f"{url}/-/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text, openmetrics="openmetrics" in answer.headers["content-type"])


async def scraped(http: httpx2.AsyncClient, url: str, condition: Callable[[Scrape], bool]) -> Scrape:
    """The first scrape of which this is true."""
    async with asyncio.timeout(20):
        while not condition(found := await scrape(http, url)):
            await asyncio.sleep(0.02)
    return found
