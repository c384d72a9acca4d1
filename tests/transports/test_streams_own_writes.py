"""A look that began before something was known tells nothing to who has come since, however they ask."""

from __future__ import annotations

import asyncio

import pytest

from scenarios.servers import Serve
from scenarios.waiting import until
from transports.bare_client import request
from transports.early_board import FIELDS, SAME, Board, Early, Reader, bearer, start


@pytest.fixture
def early() -> Early:
    return Early()


@pytest.mark.parametrize("absent", [False, True])
async def test_a_look_that_began_before_a_write_tells_its_writer_nothing(
    absent: bool, serve: Serve, early: Early
) -> None:
    board = Board()
    if absent:
        board.absent.add("/a")
    server = start(serve, board, early)
    board.delay = asyncio.Event()
    async with Reader(server.port) as before, Reader(server.port) as writer, Reader(server.port) as after:
        before.send(SAME)
        await until(lambda: board.waiting == 1)
        writer.send(request("/a", {**FIELDS, "Content-Length": "0"}, "PUT"))
        assert (await writer.head()).status == 200
        after.send(SAME)
        await until(lambda: len(server._server.server_state.tasks) == 2)
        await board.go_on()
        assert (await after.begun()).n == 1
        assert (await before.begun()).status == (404 if absent else 200)


async def test_a_look_that_began_before_a_commit_tells_nothing_after_it(serve: Serve, early: Early) -> None:
    """The write was not answered yet, but it may be known of."""
    board = Board()
    server = start(serve, board, early)
    board.delay = asyncio.Event()
    async with Reader(server.port) as before, Reader(server.port) as writer, Reader(server.port) as after:
        before.send(SAME)
        await until(lambda: board.waiting == 1)
        writer.send(request("/a?hold", {**FIELDS, "Content-Length": "0"}, "PUT"))
        await until(lambda: board.hold is not None)
        after.send(SAME)
        await until(lambda: len(server._server.server_state.tasks) == 3)
        await board.go_on()
        assert ((await before.begun()).n, (await after.begun()).n) == (0, 1)
        board.finish()
        assert (await writer.head()).status == 200


async def test_a_look_that_began_before_a_right_was_given_refuses_nobody_after(
    serve: Serve, early: Early
) -> None:
    board = Board()
    board.rights = set()
    server = start(serve, board, early)
    board.delay = asyncio.Event()
    async with Reader(server.port) as before, Reader(server.port) as after:
        before.send(bearer("ann"))
        await until(lambda: board.waiting == 1)
        board.rights.add("Bearer ann")
        after.send(bearer("ann"))
        await until(lambda: len(server._server.server_state.tasks) == 2)
        await board.go_on()
        assert (await before.begun()).status == 401
        assert (await after.begun()).n == 0
