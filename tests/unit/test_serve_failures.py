"""What clients are told: fixed texts, in OpenAI's shape, and nothing of ours."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.testclient import TestClient

from kosmos2.engine import Cancelled, Late
from kosmos2.errors import Busy, ConfigError, EngineError, ImageError, Kosmos2Error, PromptError
from kosmos2.serve import failures
from kosmos2.serve.failures import TABLE, Refused, body, logged, path, response, told

# What a reply must not hold; the names of our fields and files aside.
LEAKS = re.compile(r"0x[0-9a-f]{6,}|/root|/home|site-packages|Traceback|[A-Z][a-z]+Error")


@pytest.mark.parametrize("code", TABLE)
def test_every_row_makes_a_whole_reply(code: str) -> None:
    reply = response(Refused(code, param="messages[0]"))
    error = json.loads(reply.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, "messages[0]")
    assert reply.status_code == TABLE[code].status
    assert "{" not in error["message"]
    assert error["message"].endswith(".")
    assert not LEAKS.search(error["message"])


@pytest.mark.parametrize("code", [code for code, row in TABLE.items() if "image" in code])
def test_a_bad_picture_is_not_sent_again_by_official_clients(code: str) -> None:
    status = TABLE[code].status
    assert 400 <= status < 500
    assert status not in (408, 409, 429)


@pytest.mark.parametrize(("given", "sent"), [(None, "1"), (0, "1"), (7, "7"), (3600, "60")])
def test_who_is_told_to_come_again_is_told_when(given: int | None, sent: str) -> None:
    assert response(Refused("overloaded", retry_after_s=given)).headers["Retry-After"] == sent
    assert "Retry-After" not in response(Refused("invalid_request")).headers


def test_who_brings_no_key_is_told_how() -> None:
    assert "Basic" in response(Refused("invalid_api_key")).headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PromptError("the words 'secret' do not fit"), "prompt_invalid"),
        (ImageError("/root/secret.png cannot be read"), "image_invalid"),
        (ConfigError("secret is 3"), "invalid_request"),
        (Busy("no room"), "overloaded"),
        (Late("too late"), "deadline_exceeded"),
        (Cancelled("gone"), "cancelled"),
        (EngineError("row 1 at 0x7fffdeadbeef"), "generation_failed"),
        (Kosmos2Error("what"), "internal"),
        (RuntimeError("secret"), "internal"),
        (MemoryError(), "internal"),
    ],
)
def test_our_own_errors_become_rows_of_the_table(error: Exception, code: str) -> None:
    refused = told(error)
    assert refused.code == code
    assert "secret" not in json.dumps(body(refused))


def test_a_refusal_stays_what_it_is() -> None:
    refused = Refused("box_invalid", param="boxes[1]")
    assert told(refused) is refused


def test_facts_are_numbers() -> None:
    with pytest.raises(AssertionError):
        Refused("invalid_request", what="/root/secret")  # type: ignore[arg-type]


def test_the_log_says_where_and_not_what(caplog: pytest.LogCaptureFixture) -> None:
    try:
        json.loads("the user's secret words")
    except ValueError as error:
        logged(error, "req_7")
    assert "req_7: JSONDecodeError in raw_decode:" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("places", "shown"),
    [
        (("body", "messages", 0, "user", "content", 1, "image_url"),
         "messages[0].user.content[1].image_url"),
        (("body", "content", "list[union[Text,Image]]", 2), "content[2]"),
        (("body", "Evil\n", "function-after[check(), X]"), None),
        (("body", "a" * 65), None),
        (("body",), None),
        ((), None),
        (("query", "limit"), "query.limit"),
        (("body", "body"), "body"),
    ],
)  # fmt: skip
def test_a_place_in_a_body_is_named_without_names_of_ours(places: tuple, shown: str | None) -> None:
    assert path(places) == shown


class Point(BaseModel, extra="forbid"):
    x: int
    more: list[int] = []


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    failures.install(app)

    @app.post("/points")
    async def points(point: Point) -> Point:
        if point.x == 13:
            raise Refused("too_many", param="x")
        return point

    return TestClient(app)


@pytest.mark.parametrize(
    ("sent", "code", "param"),
    [
        ({}, "missing_parameter", "x"),
        ({"x": 1, "y": 2}, "unknown_parameter", "y"),
        ({"x": "much"}, "invalid_request", "x"),
        ({"x": 1, "more": [1, None]}, "invalid_request", "more[1]"),
        ([], "invalid_request", None),
        ({"x": 13}, "too_many", "x"),
    ],
)
def test_what_a_model_does_not_take_is_refused_in_the_same_shape(
    client: TestClient, sent: object, code: str, param: str | None
) -> None:
    reply = client.post("/points", json=sent)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


def test_what_the_router_refuses_has_the_same_shape(client: TestClient) -> None:
    assert client.get("/nowhere").json()["error"]["code"] == "not_found"
    reply = client.get("/points")
    assert reply.json()["error"]["code"] == "method_not_allowed"
    assert reply.headers["Allow"] == "POST"
    reply = client.post("/points", content=b"{", headers={"Content-Type": "application/json"})
    assert reply.json()["error"]["code"] == "invalid_json"
