"""``Restive`` itself: installing, settings, and finding the current instance."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from restive import Restive, SettingError, changed


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"hello": request.url.path})


def starlette(**options: Any) -> Starlette:
    return Starlette(routes=[Route("/hello", hello)], **options)


def test_a_starlette_app_becomes_live_in_place() -> None:
    app = starlette()
    Restive(app)
    response = TestClient(app).get("/hello")
    assert response.headers["etag"].startswith('"r-')
    assert 'rel="monitor"' in response.headers["link"]


def test_any_other_asgi_app_is_wrapped() -> None:
    inner = starlette()
    live = Restive(lambda scope, receive, send: inner(scope, receive, send))
    assert TestClient(live).get("/hello").headers["etag"].startswith('"r-')


def test_install_later_and_serving_either() -> None:
    live = Restive()
    app = starlette()
    live.install(app)
    for served in (app, live):
        assert TestClient(served).get("/-/health").json().items() >= {"live": True, "ready": True}.items()


def test_middleware_added_after_is_inside() -> None:
    seen: list[str] = []

    class Mark:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["path"])
            await self.app(scope, receive, send)

    app = starlette(middleware=[Middleware(Mark)])
    Restive(app)
    app.add_middleware(Mark)
    client = TestClient(app)
    client.get("/hello")
    assert seen == ["/hello", "/hello"]
    client.get("/-/health")
    assert seen == ["/hello", "/hello"]


def test_mounted_below_a_path_its_own_uris_are_below_it_too() -> None:
    app = starlette()
    Restive(app)
    outer = Starlette(routes=[Mount("/shop", app)])
    client = TestClient(outer)
    assert client.get("/shop/-/health").status_code == 200
    assert client.get("/-/health").status_code == 404
    assert client.get("/shop/hello").headers["link"] == '</shop/-/live>; rel="monitor"'


def _flask() -> Any:
    return type("Flask", (), {"wsgi_app": None, "__call__": lambda *_: None})()


def _twice() -> None:
    Restive(starlette()).install(starlette())


def _same_app() -> None:
    app = starlette()
    Restive(app)
    Restive(app)


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (_twice, "make one for each app"),
        (_same_app, "live already"),
        (lambda: Restive(_flask()), "a2wsgi"),
        (lambda: TestClient(Restive()).get("/"), "live.install"),
    ],
)
def test_mistakes_say_what_to_do(mistake: Callable[[], Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        mistake()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"recheck_seconds": 3}, "There is no setting"),
        ({"rechek": 3}, "Did you mean 'recheck'"),
        ({"recheck": "soon"}, "takes a number"),
        ({"max_watches": -1}, "not negative"),
        ({"neutral": "x-foo"}, "write ['x-foo']"),
        ({"prefix": "live/"}, "starts with /"),
        ({"allow_origins": ["*"]}, "names each origin"),
        ({"backend": "mongodb://x"}, "redis://, nats://"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_write(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says.replace("[", r"\[")):
        _ = Restive(starlette(), **given).backend


def test_the_package_function_finds_the_current_instance() -> None:
    gc.collect()
    app = starlette()

    async def announce(_request: Request) -> JSONResponse:
        changed("/hello")
        return JSONResponse({})

    app.router.routes.append(Route("/announce", announce))
    live, other = Restive(app), Restive(starlette())
    heard: list[Any] = []
    live._look_again = heard.append  # type: ignore[method-assign,assignment]
    TestClient(app).get("/announce")
    assert [change.path for change in heard[0]] == ["/hello"]
    with pytest.raises(SettingError, match="call changed"):
        changed("/hello")
    del other


def test_constructing_opens_and_starts_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Restive(starlette(), backend=f"sqlite:///{tmp_path}/x/restive.db")
    assert list(tmp_path.iterdir()) == []


def test_never_takes_out_routes_however_they_are_nested() -> None:
    live = Restive()
    inner, outer = APIRouter(), APIRouter()

    @inner.get("/secret")
    @live.never
    def secret() -> dict[str, int]:
        return {"n": 1}

    @inner.get("/open")
    def public() -> dict[str, int]:
        return {"n": 2}

    outer.include_router(inner, prefix="/b")
    app, mounted = FastAPI(), FastAPI()
    app.include_router(outer, prefix="/a")
    mounted.include_router(inner)
    app.mount("/m", mounted)
    live.install(app)
    live.never("/docs*")
    client = TestClient(app)
    for path in ("/a/b/secret", "/m/secret", "/docs"):
        assert client.get(path).status_code == 200
        assert "link" not in client.get(path).headers
        refused = client.get(f"{path}?live=long-poll")
        assert (refused.status_code, refused.json()["title"]) == (403, "Not watchable")
    for path in ("/a/b/open", "/m/open"):
        assert "link" in client.get(path).headers
        assert client.get(f"{path}?live=long-poll").json() == {"n": 2}
