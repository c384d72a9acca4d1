"""A report from an API that takes its time: `async def`, several requests at once, tried again if need be.

pip install 'restive[standard]'
WEATHER=http://127.0.0.1:9000 uvicorn examples.report:app
restive submit http://127.0.0.1:8000/reports --json '{"cities": ["Oslo", "Rome"]}'
"""

import os
from typing import Annotated

import httpx2
from fastapi import Body, FastAPI
from pydantic import BaseModel

from restive import Operation, Restive

app = FastAPI()
live = Restive(app)

WEATHER = os.environ.get("WEATHER", "http://127.0.0.1:9000")


class Report(BaseModel):
    warmest: str
    mean: float


@live.operation("/reports", retries=3, backoff=0.5, timeout=600)
async def report(cities: Annotated[list[str], Body(embed=True, min_length=1)], op: Operation) -> Report:
    """Which city is the warmest. An error of the API ends the attempt; there are four."""
    degrees: dict[str, float] = {}
    async with httpx2.AsyncClient(base_url=WEATHER, timeout=30) as client:

        async def ask(city: str) -> tuple[str, float]:
            answer = await client.get("/weather", params={"city": city})
            answer.raise_for_status()
            return city, answer.json()["degrees"]

        async for city, found in op.map(ask, cities, unit="cities"):
            degrees[city] = found
            op.report(message=f"{city}: {found:g} °C")

    lines = [f"{city},{degrees[city]:g}" for city in cities]
    op.part("report.csv", "\n".join(["city,degrees", *lines, ""]))
    mean = sum(degrees.values()) / len(degrees)
    return Report(warmest=max(degrees, key=lambda city: degrees[city]), mean=round(mean, 1))
