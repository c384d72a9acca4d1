"""The same small shop in other frameworks: plain Starlette, Flask (WSGI), bare ASGI, and mounted."""

from __future__ import annotations

import json
from typing import Any

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI
from flask import Flask
from flask import Response as FlaskResponse
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from apps import shop
from restive import Restive

Orders = dict[str, Any]


def starlette(**settings: Any) -> tuple[Any, Orders]:
    orders: Orders = {"3": {"count": 1}}

    async def order(request: Request) -> Response:
        number = request.path_params["number"]
        if request.method == "PUT":
            orders[number] = await request.json()
        elif request.method == "DELETE":
            del orders[number]
        return JSONResponse(orders[number]) if number in orders else Response(status_code=404)

    app = Starlette(routes=[Route("/orders/{number}", order, methods=["GET", "PUT", "DELETE"])])
    Restive(app, **settings)
    return app, orders


def flask(**settings: Any) -> tuple[Any, Orders]:
    orders: Orders = {"3": {"count": 1}}
    app = Flask("shop")

    @app.route("/orders/<number>", methods=["GET", "PUT", "DELETE"])
    def order(number: str) -> Any:
        if flask_request.method == "PUT":
            orders[number] = flask_request.get_json()
        elif flask_request.method == "DELETE":
            del orders[number]
        return orders[number] if number in orders else FlaskResponse(status=404)

    return Restive(WSGIMiddleware(app), **settings), orders


def bare(**settings: Any) -> tuple[Any, Orders]:
    """An ASGI app that knows no lifespan, and refuses sockets by raising."""
    orders: Orders = {"3": {"count": 1}}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "this app serves HTTP only"
        number = scope["path"].rpartition("/")[2]
        if scope["method"] == "PUT":
            orders[number] = json.loads((await receive())["body"])
        elif scope["method"] == "DELETE":
            del orders[number]
        status = 200 if number in orders else 404
        body = json.dumps(orders.get(number)).encode()
        headers = [(b"Content-Type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return Restive(app, **settings), orders


def installed(**settings: Any) -> tuple[Any, Orders]:
    """``live`` in a module of its own, joined later, before and after the routes and the middleware."""
    live = Restive(**settings)
    app = FastAPI()
    orders: Orders = {"3": {"count": 1}}
    live.install(app)

    @app.middleware("http")
    async def added_later(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-later"] = "yes"
        return response

    @app.api_route("/orders/{number}", methods=["GET", "PUT", "DELETE"])
    async def order(number: str, request: Request) -> Response:
        if request.method == "PUT":
            orders[number] = await request.json()
        elif request.method == "DELETE":
            del orders[number]
        return JSONResponse(orders[number]) if number in orders else Response(status_code=404)

    return app, orders


FRAMEWORKS = {"starlette": starlette, "flask": flask, "bare": bare, "installed": installed}


def mounted_live(**settings: Any) -> tuple[Any, shop.Shop]:
    """A live app mounted in a plain one: its lifespan never runs."""
    inner, _, state = shop.make(**settings)
    return Starlette(routes=[Mount("/shop", app=inner)]), state


def mounting_live(**settings: Any) -> tuple[Any, shop.Shop]:
    """A live app with a plain one mounted in it."""
    inner, state = shop.make_plain()
    outer = FastAPI()
    outer.mount("/shop", inner)
    Restive(outer, **settings)
    return outer, state
