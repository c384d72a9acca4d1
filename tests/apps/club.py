"""Resources whose answers differ by who asks: what may be shared between members, and what must not be."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response

from restive import Restive

PUBLIC = "public, max-age=3600"


class Club:
    """The news, how it may be cached, and who was looked at for it."""

    def __init__(self) -> None:
        self.version = 1
        self.caching: dict[str, dict[str, str]] = {}
        self.personal: set[str] = set()
        self.banned: set[str] = set()
        self.held: set[str] = set()
        self.let_go = asyncio.Event()
        self.looks: Counter[str] = Counter()
        self.seen: list[dict[str, str]] = []

    def note(self, request: Request, response: Response) -> None:
        if "restive" in request.scope:
            self.looks[request.url.path] += 1
            self.seen.append(dict(request.headers))
        for name, value in self.caching.get(request.url.path, {}).items():
            response.headers[name] = value

    def who(self, request: Request) -> str:
        fields = request.headers
        found = fields.get("authorization") or fields.get("x-api-key") or fields.get("x-forwarded-user")
        return found or request.cookies.get("sid") or "nobody"


def make(**settings: Any) -> tuple[FastAPI, Restive, Club]:
    app = FastAPI()
    club = Club()

    @app.get("/me")
    async def me(request: Request, response: Response) -> dict[str, Any]:
        club.note(request, response)
        if club.who(request) in club.banned:
            raise HTTPException(403, f"{club.who(request)} is banned")
        return {"who": club.who(request), "version": club.version}

    @app.get("/news")
    @app.get("/news/{section}")
    async def news(request: Request, response: Response) -> dict[str, Any]:
        club.note(request, response)
        if club.who(request) in club.banned:
            raise HTTPException(403, f"{club.who(request)} is banned")
        version = club.version
        if club.who(request) in club.held:
            await club.let_go.wait()
        if request.url.path in club.personal:
            return {"version": version, "for": club.who(request)}
        return {"version": version}

    @app.get("/greeting")
    async def greeting(request: Request, response: Response) -> dict[str, Any]:
        club.note(request, response)
        return {"language": request.headers.get("accept-language", "en"), "version": club.version}

    @app.get("/address")
    async def address(request: Request, response: Response) -> dict[str, Any]:
        club.note(request, response)
        assert request.client is not None
        return {"address": request.client.host, "port": request.client.port, "version": club.version}

    @app.post("/version")
    async def publish() -> dict[str, int]:
        club.version += 1
        return {"version": club.version}

    return app, Restive(app, **settings), club
