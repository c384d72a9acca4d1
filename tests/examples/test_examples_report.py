"""The report: asks a slow API for several cities at once, is tried again, and is cancelled while it waits."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

DEGREES = {"Oslo": 4, "Rome": 21.5, "Lima": 18}


class SlowAPI:
    """Answers once ``at_once`` requests wait, and fails for the first ``failures`` of them."""

    def __init__(self, at_once: int = 1, failures: int = 0) -> None:
        self.at_once, self.failures = at_once, failures
        self.waiting = 0
        self.gone = 0
        self.app = Starlette(routes=[Route("/weather", self.weather)])

    async def weather(self, request: Request) -> Response:
        self.waiting += 1
        self.enough = getattr(self, "enough", None) or asyncio.Event()
        if self.waiting >= self.at_once:
            self.enough.set()
        await self.enough.wait()
        if self.failures:
            self.failures -= 1
            return Response(status_code=503)
        return JSONResponse({"degrees": DEGREES[request.query_params["city"]]})


@pytest.fixture
def served(example, serve):
    def start(api: SlowAPI):
        return example("report", WEATHER=serve(api.app).url)

    return start


def test_cities_are_asked_at_once(served):
    example = served(SlowAPI(at_once=3))  # one after the other would wait for ever
    document = example.run("/reports", json={"cities": list(DEGREES)})
    assert document["status"] == "succeeded", document
    assert document["result"] == {"warmest": "Rome", "mean": 14.5}
    assert (document["progress"]["completed"], document["progress"]["unit"]) == (3, "cities")
    [part] = example.client.operation(document["links"]["self"]).parts()
    assert example.client.get(part.url).text == "city,degrees\nOslo,4\nRome,21.5\nLima,18\n"


def test_an_error_of_the_api_is_tried_again(served):
    document = served(SlowAPI(failures=2)).run("/reports", json={"cities": ["Oslo"]})
    assert (document["status"], document["attempt"]) == ("succeeded", 3)


def test_cancel_reaches_it_while_it_waits_for_the_api(served):
    api = SlowAPI(at_once=1000)
    example = served(api)
    operation = example.submit("/reports", json={"cities": ["Oslo"]})
    while not api.waiting:
        operation.status()
    operation.cancel()
    *_, last = operation.progress()
    assert last["status"] == "canceled"


def test_nonsense_is_refused(served):
    example = served(SlowAPI())
    for body in ({}, {"cities": []}, {"cities": "Oslo"}, {"cities": [7]}):
        assert example.client.post("/reports", json=body).status_code == 422, body
