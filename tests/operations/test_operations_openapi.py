"""The app's OpenAPI says of an operation what its routes do, and is valid."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Form, Header, UploadFile
from openapi_spec_validator import validate
from pydantic import BaseModel

from restive import Restive
from restive.operations import Operation

PROBLEM = "#/components/schemas/OperationProblem"


class Summary(BaseModel):
    words: int


def owner_of_request(request):
    return request.headers.get("x-user")


def may_see(user: str) -> None: ...


def new_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    live = Restive(app, backend="memory:")

    @live.operation("/users/{user}/digests", dependencies=[Depends(may_see)], tags=["digests"])
    def digest(user: str, file: UploadFile, op: Operation, title: str = Form("")) -> Summary:
        """Count the words."""
        return Summary(words=len(user) + len(title))

    @live.operation("/files/{path:path}/sums", owner=owner_of_request, priority=priority_of)
    def add(numbers: list[int], idempotency_key: Annotated[str, Header()] = "") -> int:
        return sum(numbers)

    @live.operation("/nothings")
    def nothing() -> None: ...

    return app


def priority_of(x_priority: Annotated[int, Header()] = 0) -> int:
    return x_priority


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return new_app().openapi()


def names(description, place):
    return sorted(each["name"] for each in description.get("parameters", []) if each["in"] == place)


def test_it_is_valid(document):
    validate(document)


def test_it_is_valid_beside_models_of_the_same_names():
    app = new_app()

    class Problem(BaseModel):
        why: str

    class Operation(BaseModel):
        letters: str

    @app.get("/own", response_model=Operation, responses={400: {"model": Problem}})
    def own() -> None: ...

    validate(app.openapi())


def test_the_submission_leads_on_by_links(document):
    ids = {
        described["operationId"]: (method, path)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }
    responses = document["paths"]["/users/{user}/digests"]["post"]["responses"]
    for status in ("202", "200"):
        links = responses[status]["links"]
        one = "/users/{user}/digests/{operation_id}"
        assert {name: ids[link["operationId"]] for name, link in links.items()} == {
            "status": ("get", one),
            "result": ("get", f"{one}/result"),
            "parts": ("get", f"{one}/parts"),
            "cancel": ("post", f"{one}/cancel"),
        }
        for link in links.values():
            expected = {"operation_id": "$response.body#/id", "user": "$request.path.user"}
            assert link["parameters"] == expected
        assert responses[status]["content"]["application/json"]["schema"]["$ref"].endswith("/Operation")
    assert {"Location", "Retry-After"} <= responses["202"]["headers"].keys()
    assert "Content-Location" in responses["200"]["headers"]


def test_links_follow_the_apps_own_names():
    def unique(route):
        return f"x-{route.name}-{'-'.join(sorted(route.methods))}"

    document = new_app(generate_unique_id_function=unique).openapi()
    validate(document)
    post = document["paths"]["/nothings"]["post"]
    assert post["responses"]["202"]["links"]["status"]["operationId"] == "x-read_nothing-GET"


def test_the_submission_names_its_fields(document):
    digest = document["paths"]["/users/{user}/digests"]["post"]
    assert names(digest, "header") == ["Idempotency-Key", "Prefer"]
    assert names(digest, "path") == ["user"]
    add = document["paths"]["/files/{path}/sums"]["post"]
    assert [each.lower() for each in names(add, "header")] == ["prefer", "idempotency-key", "x-priority"]
    assert names(add, "path") == ["path"]


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("", "post", "400 403 409 410 413 415 422 429 500 503 507"),
        ("", "get", "400 404"),
        ("/{operation_id}", "get", "400 404 410 503"),
        ("/{operation_id}", "delete", "400 403 404 410 503"),
        ("/{operation_id}/result", "get", "400 404 409 410 503"),
        ("/{operation_id}/parts", "get", "400 404 410 503"),
        ("/{operation_id}/parts/{part_name}", "get", "400 404 410 416 503"),
        ("/{operation_id}/cancel", "post", "400 403 404 410 503"),
    ],
)
def test_problems_are_described(document, path, method, statuses):
    responses = document["paths"][f"/users/{{user}}/digests{path}"][method]["responses"]
    found = [
        status
        for status, response in responses.items()
        if response.get("content", {}).get("application/problem+json") == {"schema": {"$ref": PROBLEM}}
    ]
    assert sorted(found) == statuses.split()


def test_only_a_form_can_be_of_the_wrong_type(document):
    assert "415" not in document["paths"]["/nothings"]["post"]["responses"]
    assert "415" not in document["paths"]["/files/{path}/sums"]["post"]["responses"]


def test_what_fastapi_refuses_is_described_too(document):
    content = document["paths"]["/files/{path}/sums"]["post"]["responses"]["422"]["content"]
    assert content.keys() == {"application/json", "application/problem+json"}


def test_the_result_has_the_type_of_the_annotation(document):
    def result(path):
        found = document["paths"][f"{path}/{{operation_id}}/result"]["get"]["responses"]["200"]
        return found["content"]["application/json"]["schema"]

    assert result("/users/{user}/digests")["$ref"].endswith("/Summary")
    assert result("/files/{path}/sums")["type"] == "integer"
    assert result("/nothings")["type"] == "null"


def test_a_part_is_bytes(document):
    path = "/nothings/{operation_id}/parts/{part_name}"
    responses = document["paths"][path]["get"]["responses"]
    assert responses["200"]["content"] == responses["206"]["content"]
    assert responses["200"]["content"].keys() == {"*/*"}
    assert names(document["paths"][path]["get"], "path") == ["operation_id", "part_name"]


def test_the_model_is_what_is_shown(document):
    schemas = document["components"]["schemas"]
    model = schemas["Operation"]
    expected = "id status created started finished attempt queue progress parts result error links"
    assert set(model["properties"]) == set(expected.split())
    assert set(schemas["OperationQueue"]["properties"]) == {"position", "starts"}


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
async def test_shown_documents_fit_the_model(bench, gate):
    from jsonschema import Draft202012Validator

    @bench.operation("/ones", owner=owner_of_request, not_before=lambda: 100)
    def one() -> int:
        return 1

    @bench.operation("/fails")
    def fail() -> int:
        raise ValueError

    openapi = (await bench.client.get("/openapi.json")).json()
    schema = {"$ref": "#/components/schemas/Operation", "components": openapi["components"]}
    fits = Draft202012Validator(schema)
    for url in ("/ones", "/fails"):
        submitted = await bench.client.post(url, headers={"X-User": "ann"})
        fits.validate(submitted.json())
    fits.validate(await bench.done(submitted.headers["location"]))
    for document in (await bench.client.get("/ones", headers={"X-User": "ann"})).json():
        fits.validate(document)


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
@pytest.mark.parametrize("sent", ["application/json", "text/plain", "multipart/mixed; boundary=b"])
async def test_a_body_that_is_no_form_is_a_415(bench, sent):
    @bench.operation("/digests")
    def digest(title: str = Form("none")) -> str:
        return title

    response = await bench.client.post("/digests", content=b"{}", headers={"Content-Type": sent})
    assert response.status_code == 415
    assert response.headers["content-type"] == "application/problem+json"
    assert "multipart/form-data" in response.headers["accept"]
    assert (await bench.client.post("/digests", data={"title": "a"})).status_code == 202
    assert (await bench.client.post("/digests", files={"title": (None, "a")})).status_code == 202
    assert (await bench.client.post("/digests")).status_code == 202
