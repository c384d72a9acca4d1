"""Log lines of a function name its operation, also from the threads of op.map and from coroutines."""

from __future__ import annotations

import logging

import pytest

from restive import Operation, OperationFilter

logger = logging.getLogger("shop")


@pytest.fixture
def lines(caplog):
    caplog.handler.addFilter(OperationFilter())
    caplog.set_level(logging.INFO, "shop")
    yield lambda: {(each.operation, each.message) for each in caplog.records if each.name == "shop"}
    caplog.handler.filters.clear()


async def test_a_function_and_its_helpers_log_with_the_id(bench, lines):
    @bench.operation("/logs")
    def log(op: Operation) -> None:
        logger.info("begun")
        list(op.map(lambda number: logger.info("item %d", number), range(8)))

    document = await bench.run("/logs")
    expected = {"begun", *(f"item {number}" for number in range(8))}
    assert lines() == {(document["id"], message) for message in expected}


async def test_two_coroutines_on_one_loop_are_told_apart(bench, lines):
    @bench.operation("/logs")
    async def log(name: str, op: Operation) -> None:
        async def item(number: int) -> None:
            logger.info("%s %d", name, number)

        async for _ in op.map(item, range(2)):
            pass

    first, second = await bench.run("/logs?name=a"), await bench.run("/logs?name=b")
    ids = {"a": first["id"], "b": second["id"]}
    assert lines() == {(ids[name], f"{name} {number}") for name in "ab" for number in range(2)}


def test_outside_an_operation_there_is_a_dash(lines):
    logger.info("alone")
    assert lines() == {("-", "alone")}
