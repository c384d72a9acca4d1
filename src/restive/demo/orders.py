"""A small shop in plain FastAPI, kept in memory. Nothing here is live, and nothing knows of Restive."""

from __future__ import annotations

from itertools import count
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, Field

__all__ = ["Order", "StoredOrder", "router"]

router = APIRouter(prefix="/orders", tags=["orders"])


class Order(BaseModel):
    """What a client sends."""

    item: Annotated[str, Field(min_length=1, max_length=200)]
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    status: Literal["new", "paid", "shipped", "delivered"] = "new"


class StoredOrder(Order):
    """What the shop keeps and answers."""

    id: int


_orders: dict[int, StoredOrder] = {
    1: StoredOrder(id=1, item="teapot", quantity=1, status="delivered"),
    2: StoredOrder(id=2, item="cups", quantity=6, status="shipped"),
    3: StoredOrder(id=3, item="green tea", quantity=2, status="paid"),
}
_ids = count(4)


@router.get("")
def list_orders() -> list[StoredOrder]:
    """All orders, the oldest first."""
    return sorted(_orders.values(), key=lambda order: order.id)


@router.post("", status_code=201)
def place_order(order: Order, response: Response) -> StoredOrder:
    """Place an order."""
    stored = StoredOrder(id=next(_ids), **order.model_dump())
    _orders[stored.id] = stored
    response.headers["Location"] = f"/orders/{stored.id}"
    return stored


@router.get("/{number}")
def read_order(number: int) -> StoredOrder:
    """One order."""
    if number not in _orders:
        raise HTTPException(404, f"There is no order {number}.")
    return _orders[number]


@router.put("/{number}")
def write_order(number: int, order: Order) -> StoredOrder:
    """Replace an order."""
    read_order(number)
    _orders[number] = StoredOrder(id=number, **order.model_dump())
    return _orders[number]


@router.delete("/{number}", status_code=204)
def cancel_order(number: int) -> None:
    """Remove an order."""
    read_order(number)
    del _orders[number]
