"""The shop of the design: plain FastAPI CRUD, made live by one line.

``make()`` gives a shop with controls for a test; ``apps.shop:app`` is configured by environment variables:
``SHOP_SETTINGS`` (JSON, the settings of Restive), ``SHOP_FILE`` (orders kept in a file, shared by processes),
``SHOP_ORDERS`` (JSON, the orders it starts with) and ``SHOP_SLOW`` (JSON, seconds by path).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response

from restive import Restive

TEA = {"item": "tea", "count": 1}


class FileOrders(MutableMapping[int, dict[str, Any]]):
    """Orders in a JSON file, so that several processes sell the same."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _load(self) -> dict[int, dict[str, Any]]:
        return {int(k): v for k, v in json.loads(self.path.read_text()).items()}

    def _save(self, orders: dict[int, dict[str, Any]]) -> None:
        new = self.path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(orders))
        new.replace(self.path)

    def __getitem__(self, key: int) -> dict[str, Any]:
        return self._load()[key]

    def __setitem__(self, key: int, value: dict[str, Any]) -> None:
        self._save({**self._load(), key: value})

    def __delitem__(self, key: int) -> None:
        orders = self._load()
        del orders[key]
        self._save(orders)

    def __iter__(self) -> Iterator[int]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


class Shop:
    """What the app sells, and how a test makes it misbehave."""

    def __init__(self, orders: MutableMapping[int, dict[str, Any]]) -> None:
        self.orders = orders
        self.allowed = {"Bearer ann", "Bearer bob"}
        self.slow: dict[str, float] = {}
        self.failing: dict[str, tuple[int, dict[str, str]]] = {}
        self.nonce: set[str] = set()
        self.caching: dict[str, str] = {}
        self.looks: Counter[str] = Counter()
        self.reasons: list[tuple[str, str]] = []
        self.gets: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.most_running: Counter[str] = Counter()
        self.serial = 0

    def count(self, request: Request) -> None:
        look = request.scope.get("restive")
        if look is None:
            self.gets[request.url.path] += 1
        else:
            self.looks[request.url.path] += 1
            self.reasons.append((request.url.path, look["look"]))

    async def misbehave(self, request: Request, response: Response) -> None:
        path = request.url.path
        if path in self.caching:
            response.headers["cache-control"] = self.caching[path]
        if path in self.slow:
            await asyncio.sleep(self.slow[path])
        if path in self.failing:
            status, headers = self.failing[path]
            raise HTTPException(status, "out of order", headers)

    def dress(self, path: str, order: dict[str, Any]) -> dict[str, Any]:
        if path not in self.nonce:
            return order
        self.serial += 1
        return {**order, "nonce": self.serial}


def make(
    orders: MutableMapping[int, dict[str, Any]] | None = None, **settings: Any
) -> tuple[FastAPI, Restive, Shop]:
    app, shop = make_plain(orders)
    return app, Restive(app, **settings), shop


def make_plain(orders: MutableMapping[int, dict[str, Any]] | None = None) -> tuple[FastAPI, Shop]:
    """The shop before the one line."""
    app = FastAPI()
    shop = Shop({3: dict(TEA)} if orders is None else orders)

    async def behaviour(request: Request, response: Response) -> Any:
        shop.count(request)
        path = request.url.path
        shop.running[path] += 1
        shop.most_running[path] = max(shop.most_running[path], shop.running[path])
        try:
            await shop.misbehave(request, response)
            yield
        finally:
            shop.running[path] -= 1

    observed = [Depends(behaviour, scope="function")]

    @app.get("/orders", dependencies=observed)
    async def listing(limit: int = 100) -> list[dict[str, Any]]:
        return [{"id": number, **order} for number, order in sorted(shop.orders.items())][:limit]

    @app.post("/orders", status_code=201)
    def create(order: dict[str, Any], response: Response) -> dict[str, Any]:
        number = max(shop.orders, default=0) + 1
        shop.orders[number] = order
        response.headers["location"] = f"/orders/{number}"
        return order

    @app.get("/orders/{number}", dependencies=observed)
    async def read(number: int, request: Request) -> dict[str, Any]:
        if number not in shop.orders:
            raise HTTPException(404)
        return shop.dress(request.url.path, shop.orders[number])

    @app.put("/orders/{number}")
    def write(number: int, order: dict[str, Any]) -> dict[str, Any]:
        shop.orders[number] = order
        return order

    @app.delete("/orders/{number}", status_code=204)
    def delete(number: int) -> None:
        if number not in shop.orders:
            raise HTTPException(404)
        del shop.orders[number]

    @app.get("/vault/{number}", dependencies=observed)
    async def vault(number: int, request: Request) -> dict[str, Any]:
        token = request.headers.get("authorization")
        if token is None:
            raise HTTPException(401, headers={"www-authenticate": "Bearer"})
        if token not in shop.allowed:
            raise HTTPException(403)
        return {"owner": token.removeprefix("Bearer "), **shop.orders[number]}

    return app, shop


def from_environment() -> tuple[FastAPI, Restive, Shop]:
    app, live, shop = from_file_or_memory()
    shop.slow.update(json.loads(os.environ.get("SHOP_SLOW", "{}")))
    return app, live, shop


def from_file_or_memory() -> tuple[FastAPI, Restive, Shop]:
    settings = json.loads(os.environ.get("SHOP_SETTINGS", "{}"))
    start = {int(k): v for k, v in json.loads(os.environ.get("SHOP_ORDERS", "{}")).items()} or {3: dict(TEA)}
    if "SHOP_FILE" not in os.environ:
        return make(start, **settings)
    path = Path(os.environ["SHOP_FILE"])
    if not path.exists():
        path.write_text(json.dumps(start))
    return make(FileOrders(path), **settings)


app, live, shop = from_environment()
