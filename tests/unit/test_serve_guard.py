"""Who gets through the door in front of every route, from where, and what every reply says."""

from __future__ import annotations

import asyncio
import base64
import logging

import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")

from doorway import House, Line, echo
from kosmos2.serve import failures
from kosmos2.serve.hosts import check_host
from kosmos2.serve.keys import Keys, line_for


@pytest.fixture
def keys(tmp_path) -> Keys:
    path = tmp_path / "keys.txt"
    path.write_text(f"{line_for('anna', 'secret')}\n{line_for('ben', 'b')} concurrent=1\n")
    return Keys.read(path)


@pytest.fixture
def locked(keys) -> House:
    return House(keys=keys, key_file="keys.txt")


BEARER = {"authorization": "Bearer secret"}


# Who may ask


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {"authorization": "Basic " + base64.b64encode(b"me:secret").decode()},
        {"x-moondream-auth": "secret"},
    ],
)
def test_a_key_opens_every_path_and_names_its_caller(locked, headers):
    for path in ("/", "/v1/models", "/metrics", "/nothing"):
        said = locked.ask("GET", path, headers)
        assert (said.status, said.header("x-caller")) == (200, "anna")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1/models", "/metrics", "/openapi.json", "/docs", "/health/ready", "/health",
        "/health/live/", "//health/live", "/health/live/../../v1/models", "/HEALTH/LIVE",
        "/health/live;x", "/health/live\x00", "/v1/models#/health/live", "http://x/health/live",
        "/health/liveness", "/./health/live", "", "*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "PROPFIND"])
def test_no_path_but_liveness_is_open_without_a_key(locked, path, method):
    said = locked.ask(method, path)
    assert said.status == 401
    assert said.code == "invalid_api_key"


def test_liveness_needs_no_key_and_gives_no_name(locked):
    assert locked.ask("GET", "/health/live").header("x-caller") == "open"
    assert locked.ask("HEAD", "/health/live").status == 200
    assert locked.ask("POST", "/health/live").status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer secret2"},
        {"authorization": "secret"},
        {"authorization": "Bearer secret, Bearer secret"},
        [("authorization", "Bearer secret"), ("authorization", "Bearer secret")],
        [("authorization", "Bearer wrong"), ("x-moondream-auth", "secret")],
        {"x-api-key": "secret"},
        {"cookie": "authorization=Bearer secret"},
        {"x-forwarded-user": "anna"},
        {"host": "localhost/health/live?"},
        {"x-original-url": "/health/live"},
        {"x-http-method-override": "HEAD"},
    ],
)
def test_anything_else_than_one_known_key_is_401(locked, headers):
    if isinstance(headers, dict) and "host" in headers:
        assert locked.ask("GET", "/v1/models", headers).status == 421
    else:
        assert locked.ask("GET", "/v1/models", headers).status == 401


def test_all_who_are_refused_read_the_same_reply(locked):
    replies = {
        locked.ask("GET", "/v1/models", {"authorization": f"Bearer {key}"}).body
        for key in ("w", "secreT", "secret" * 1000, "sha256")
    }
    assert replies == {locked.ask("GET", "/v1/models").body}


def test_a_browser_is_asked_for_a_password_and_a_program_is_not(locked):
    page = locked.ask("GET", "/", {"accept": "text/html"})
    assert page.header("www-authenticate").startswith("Basic ")
    call = locked.ask("POST", "/v1/x", {"accept": "text/html"})
    assert call.header("www-authenticate").startswith("Bearer ")


def test_a_key_may_be_asked_of_by_one_request_at_a_time(keys):
    async def story() -> None:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope, receive, send):
            inside.set()
            await go_on.wait()
            await echo(scope, receive, send)

        house = House(slow, keys=keys, key_file="keys.txt")
        ben = [("authorization", "Bearer b"), ("content-type", "application/json")]
        first = asyncio.create_task(house.hear(Line(), "POST", "/v1/x", ben))
        await inside.wait()
        second = await house.hear(Line(), "POST", "/v1/x", ben)
        assert (second.status, second.code) == (429, "concurrency_limited")
        assert second.header("retry-after") == "1"
        go_on.set()
        assert (await first).status == 200
        assert (await house.hear(Line(), "POST", "/v1/x", ben)).status == 200

    asyncio.run(story())


# From where


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "localhost.", "[::1]", "[::1]:8000",
     "127.9.9.9:65535"],
)  # fmt: skip
def test_names_of_this_machine_are_heard(host):
    assert House().ask(headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0",
     "169.254.169.254", "localhost:8000@evil.example", "localhost/?", "a/?", "", " ", "[::1", "::1",
     "[::2]", "localhost:x", "localhost:8000:1", "localhost, evil.example", "2130706433", "127.1",
     "xn--localhost", "local host", "[::ffff:8.8.8.8]", "\xe9"],
)  # fmt: skip
def test_other_names_are_not(host):
    said = House().ask(headers={"host": host})
    assert (said.status, said.code) == (421, "host_not_allowed")


def test_two_hosts_are_not_heard():
    with pytest.raises(failures.Refused, match="host_not_allowed"):
        check_host([(b"host", b"localhost"), (b"host", b"localhost")])


def test_a_server_for_others_has_the_name_they_give_it(keys):
    house = House(keys=keys, key_file="keys.txt", host="0.0.0.0")
    assert house.ask(headers={"host": "boxes.example", **BEARER}).status == 200


def test_pages_of_other_sites_may_not_ask_but_their_links_are_followed():
    house = House()
    cross = {"sec-fetch-site": "cross-site"}
    for headers in (
        cross,
        {**cross, "sec-fetch-mode": "cors"},
        {**cross, "sec-fetch-mode": "navigate"},
    ):
        assert house.ask(headers=headers).code == "cross_site_refused"
    link = {**cross, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert house.ask(headers=link).status == 200
    assert house.ask("POST", headers=link).status == 403
    assert house.ask(headers={**link, "sec-fetch-dest": "iframe"}).status == 403
    for site in ("same-origin", "same-site", "none"):
        assert house.ask(headers={"sec-fetch-site": site}).status == 200


def test_no_reply_invites_other_origins():
    said = House().ask("OPTIONS", headers={"origin": "http://localhost:3000"})
    assert not [name for name, _ in said.headers if name.startswith("access-control")]


# Every reply


def test_replies_are_not_kept_not_guessed_at_and_not_framed():
    for said in (House().ask(), House().ask(headers={"host": "x"})):
        assert said.header("cache-control") == "no-store"
        assert said.header("x-content-type-options") == "nosniff"
        assert said.header("referrer-policy") == "no-referrer"
        assert said.header("content-security-policy").startswith("default-src 'none'")


def test_a_page_that_says_more_of_itself_keeps_what_it_says():
    async def page(scope, receive, send):
        headers = [(b"Content-Security-Policy", b"default-src 'none'; script-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    said = House(page).ask()
    policies = [value for name, value in said.headers if name.lower() == "content-security-policy"]
    assert policies == ["default-src 'none'; script-src 'self'"]


@pytest.mark.parametrize("given", ["abc", "a.b_c-1", "0" * 64])
def test_a_tame_request_id_is_told_back(given):
    assert House().ask(headers={"x-request-id": given}).header("x-request-id") == given


@pytest.mark.parametrize("given", ["", "a b", "a\x1b[31m", "é", "0" * 65, "<script>", "a\r\nb: c"])
def test_a_wild_request_id_is_replaced(given):
    house = House()
    told = {house.ask(headers={"x-request-id": given}).header("x-request-id") for _ in range(2)}
    assert len(told) == 2
    assert all(one.startswith("req_") and one.isalnum() | ("_" in one) for one in told)


def test_the_app_reads_the_id_that_the_client_is_told():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["state"]["caller"].request_id)
        await echo(scope, receive, send)

    said = House(app).ask()
    assert seen == [said.header("x-request-id")]


# What goes wrong behind


def test_an_error_behind_the_door_is_logged_without_its_words_and_told_without_its_name(caplog):
    async def breaks(scope, receive, send):
        raise LookupError("/home/me 0x7fff the prompt")

    with caplog.at_level(logging.ERROR):
        said = House(breaks).post(b"{}")
    assert (said.status, said.code) == (500, "internal")
    for text in (said.body.decode(), caplog.text):
        assert "0x7fff" not in text
        assert "the prompt" not in text
    assert "LookupError" in caplog.text
    assert said.header("x-request-id") in caplog.text
    assert b"LookupError" not in said.body


def test_an_error_after_the_first_byte_sends_no_second_head():
    async def breaks(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError

    said = House(breaks).post(b"{}")
    assert (said.status, said.parts) == (200, 0)


def test_a_socket_of_another_kind_is_closed():
    async def story() -> list[str]:
        sent = []

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message["type"])

        await House().guard({"type": "websocket", "path": "/", "headers": []}, receive, send)
        return sent

    assert asyncio.run(story()) == ["websocket.close"]


def test_the_start_and_the_end_of_the_app_pass_through():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(House(app).guard({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_refusals_at_the_door_are_counted_by_reason(locked):
    locked.ask("GET", "/v1/models")
    locked.ask("GET", "/", {"host": "x"})
    text = locked.metrics.text().decode()
    assert 'kosmos2_requests_refused_total{reason="invalid_api_key"} 1.0' in text
    assert 'kosmos2_requests_refused_total{reason="host_not_allowed"} 1.0' in text
