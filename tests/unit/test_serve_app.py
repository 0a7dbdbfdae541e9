"""The rooms put together: what the house says of itself, and what it keeps to itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")

from fastapi import FastAPI
from starlette.testclient import TestClient

from kosmos2 import Kosmos2
from kosmos2.errors import ConfigError
from kosmos2.serve import create_app
from kosmos2.serve.desk import model_id
from kosmos2.serve.failures import TABLE
from kosmos2.serve.keys import line_for, new_key
from kosmos2.serve.settings import Limits, Settings

HERE = "http://127.0.0.1:8000"


def client_of(app: FastAPI, **headers: str) -> TestClient:
    return TestClient(app, base_url=HERE, headers=headers)


@pytest.fixture(scope="module")
def app(tiny_model: Kosmos2) -> FastAPI:
    return create_app(Settings(open=True), model=tiny_model)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with client_of(app) as client:
        yield client


def count(app: FastAPI, name: str, **labels: str) -> float:
    return app.state.desk.metrics.registry.get_sample_value(f"kosmos2_{name}", labels) or 0.0


def test_the_house_says_how_it_is(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    (only,) = client.get("/v1/models").json()["data"]
    assert (only["id"], only["object"]) == ("tiny", "model")
    for name in ("tiny", "kosmos-2", "microsoft/kosmos-2-patch14-224"):
        assert client.get(f"/v1/models/{name}").json() == only
    reply = client.get("/v1/models/gpt-9")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("demo", "kosmos-2-demo"),
        ("microsoft/kosmos-2-patch14-224", "kosmos-2-patch14-224"),
        ("/srv/models/mine/", "mine"),
        ("", "kosmos-2"),
    ],
)
def test_a_model_is_known_by_the_last_part_of_its_name(name: str, shown: str) -> None:
    assert model_id(name) == shown


def test_a_server_that_is_about_to_stop_says_so(tiny_model: Kosmos2) -> None:
    app = create_app(Settings(open=True), model=tiny_model)
    with client_of(app) as client:
        app.state.desk.admission.drain()
        assert client.get("/health/live").status_code == 200
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
        app.state.desk.answering.engine = SimpleNamespace(dead=True, close=lambda _: None)
        assert client.get("/health/live").json()["error"]["code"] == "engine_dead"


def test_no_page_that_loads_from_other_hosts_is_served(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert client.get(path).status_code == 404


def test_nobody_is_sent_elsewhere(client: TestClient) -> None:
    reply = client.get("/v1/models/", follow_redirects=False, headers={"Host": "127.0.0.1"})
    assert reply.status_code in (200, 404)
    assert "location" not in reply.headers


def test_every_refusal_is_in_the_description(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    error = schema["components"]["schemas"]["Error"]["properties"]["error"]["properties"]
    assert set(error["code"]["enum"]) == set(TABLE)
    text = json.dumps(schema)
    assert "HTTPValidationError" not in text
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (method, path)
            assert {"400", "401", "404", "500"} <= set(operation["responses"]), (method, path)
            if method == "post":
                assert {"413", "415", "429", "503"} <= set(operation["responses"]), path
            assert bool(operation["security"]) == (path != "/health/live")


def test_every_route_but_liveness_is_closed(tiny_model: Kosmos2, tmp_path: Path) -> None:
    key = new_key()
    keys = tmp_path / "keys.txt"
    keys.write_text(line_for("anna", key) + "\n")
    app = create_app(Settings(key_file=keys), model=tiny_model)
    client = client_of(app)
    paths = [*client_of(app, Authorization=f"Bearer {key}").get("/openapi.json").json()["paths"]]
    assert "/metrics" in paths
    for path in [*paths, "/openapi.json", "/", "/nowhere"]:
        if path == "/health/live":
            continue
        for method in ("GET", "POST", "OPTIONS"):
            reply = client.request(method, path)
            assert reply.status_code == 401, (method, path)
            assert reply.json()["error"]["code"] == "invalid_api_key"
    assert client.get("/health/live").status_code == 200


def test_keys_that_cannot_be_read_are_noticed_at_once(tiny_model: Kosmos2, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        create_app(Settings(key_file=tmp_path / "none.txt"), model=tiny_model)


def test_what_is_unforeseen_is_told_in_a_fixed_text(tiny_model: Kosmos2, caplog) -> None:
    app = create_app(Settings(open=True), model=tiny_model)

    @app.get("/broken")
    async def broken() -> None:
        raise LookupError("/root/secret of the user")

    with caplog.at_level(logging.INFO, "kosmos2"):
        reply = client_of(app).get("/broken?key=secret")
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal"
    assert "secret" not in reply.text + caplog.text
    assert "LookupError in broken:" in caplog.text
    assert reply.headers["X-Request-Id"] in caplog.text
    assert count(app, "requests_refused_total", reason="internal") == 1


def test_each_request_leaves_one_line_and_no_query(
    app: FastAPI, client: TestClient, caplog
) -> None:
    with caplog.at_level(logging.INFO, "kosmos2.serve.watch"):
        client.get("/health/live?secret=1", headers={"X-Request-Id": "mine-7"})
        client.get("/nowhere%0a2026 GET /forged 200")
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("GET /health/live 200 ")
    assert first.endswith(" s mine-7 open")
    assert "\n" not in second
    assert second.startswith("GET /nowhere\\n2026\\x20GET\\x20/forged\\x20200 404 ")


def test_requests_are_counted_by_route_and_refusals_by_reason(
    app: FastAPI, client: TestClient
) -> None:
    def durations(route: str, status: str) -> float:
        return count(app, "request_duration_seconds_count", route=route, status=status)

    before = durations("/v1/models/{name:path}", "404"), durations("none", "404")
    refused = count(app, "requests_refused_total", reason="model_not_found")
    client.get("/v1/models/a")
    client.get("/v1/models/b")
    client.get("/wp-admin.php")
    assert durations("/v1/models/{name:path}", "404") == before[0] + 2
    assert durations("none", "404") == before[1] + 1
    assert count(app, "requests_refused_total", reason="model_not_found") == refused + 2
    text = client.get("/metrics").text
    assert "kosmos2_requests_running 0.0" in text
    assert "wp-admin" not in text
    for name in (
        "requests_waiting", "time_to_first_token_seconds_bucket", "inter_token_seconds_bucket",
        "image_cache_hits_total", "image_cache_misses_total", "prefix_cache_hits_total",
        "generated_tokens_total", "requests_cancelled_total", "decode_worker_restarts_total",
    ):  # fmt: skip
        assert f"\nkosmos2_{name}" in text, name


def test_one_process_may_hold_several_apps(app: FastAPI, tiny_model: Kosmos2) -> None:
    other = create_app(Settings(open=True, limits=Limits(running=2)), model=tiny_model)
    before = count(app, "requests_refused_total", reason="not_found")
    client_of(other).get("/nowhere")
    assert count(app, "requests_refused_total", reason="not_found") == before
    assert count(other, "requests_refused_total", reason="not_found") == 1
    assert other.state.desk.limits.running == 2


def test_more_pictures_than_are_taken_are_refused_before_any_is_opened(
    app: FastAPI, client: TestClient
) -> None:
    url = "data:image/png;base64,AAAA"
    content = [{"type": "image_url", "image_url": {"url": url}}] * 9
    reply = client.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]}
    )
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "too_many_images"


def test_an_app_without_keys_has_to_be_wanted_open(tiny_model: Kosmos2) -> None:
    with pytest.raises(ConfigError, match="open=True"):
        create_app(Settings(), model=tiny_model)
