"""A shop whose orders can be watched: plain FastAPI, and one line.

    uvicorn shop:app                 # or: fastapi dev shop.py, restive serve shop:app
    restive watch http://127.0.0.1:8000/orders/3

In another terminal:

    curl -X PUT http://127.0.0.1:8000/orders/3 -H 'Content-Type: application/json' \
         -d '{"item": "tea", "quantity": 4}'
"""

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel

from restive import Restive

app = FastAPI()


class Order(BaseModel):
    item: str
    quantity: int = 1


orders = {3: Order(item="tea", quantity=2)}


@app.get("/orders")
def list_all() -> dict[int, Order]:
    return orders


@app.post("/orders", status_code=201)
def create(order: Order, response: Response) -> Order:
    number = max(orders, default=0) + 1
    orders[number] = order
    response.headers["Location"] = f"/orders/{number}"
    return order


@app.get("/orders/{number}")
def read(number: int) -> Order:
    if number not in orders:
        raise HTTPException(404, "There is no such order.")
    return orders[number]


@app.put("/orders/{number}")
def write(number: int, order: Order) -> Order:
    orders[number] = order
    return order


@app.delete("/orders/{number}", status_code=204)
def delete(number: int) -> None:
    orders.pop(number, None)


live = Restive(app)  # that is all: every GET above can now be watched
