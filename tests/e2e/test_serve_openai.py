"""The official client against a live server: whatever it offers works, or fails by its name."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the official client asks the questions")
pytest.importorskip("uvicorn", reason="the server needs the serve extra")

import openai
from pydantic import BaseModel

import kosmos2
from kosmos2 import Kosmos2
from kosmos2.serve.keys import line_for, new_key
from serving import Server, serving

EXAMPLES = sorted((Path(kosmos2.__file__).parent / "assets" / "examples").glob("*.jpg"))
SNOWMAN = next(path for path in EXAMPLES if path.stem == "snowman")
MODEL = "kosmos-2-demo"
LONG = {"max_tokens": 400, "n": 8, "extra_body": {"ignore_eos": True}}  # a while of work


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


def url_of(path: Path = SNOWMAN) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def messages(words: str = "An image of", path: Path = SNOWMAN) -> list[Any]:
    picture = {"type": "image_url", "image_url": {"url": url_of(path)}}
    return [{"role": "user", "content": [{"type": "text", "text": words}, picture]}]


def items(words: str = "An image of", path: Path = SNOWMAN) -> list[Any]:
    picture = {"type": "input_image", "image_url": url_of(path), "detail": "auto"}
    return [{"role": "user", "content": [{"type": "input_text", "text": words}, picture]}]


def found(grounding: Any) -> list[Any]:
    return [
        (entity["phrase"], entity["start"], entity["end"], [box["box"] for box in entity["boxes"]])
        for entity in grounding["entities"]
    ]


def expected(answer: Any) -> list[Any]:
    return [
        (entity.phrase, entity.start, entity.end, [list(box.corners) for box in entity.boxes])
        for entity in answer.entities
    ]


# The same answers as the object's


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_answered_as_in_process(client, model, path):
    for words, wish, answer in (
        ("An image of", {}, model.caption(path)),
        ("Describe this image in detail:", {}, model.caption(path, detailed=True)),
        ("", {"phrases": ["a snowman", "a fire"]}, model.ground(path, ["a snowman", "a fire"])),
        ("Is there a fire?", {}, model.ask(path, "Is there a fire?")),
        ("", {"boxes": [[0.1, 0.0, 0.5, 0.5]]}, model.describe(path, [0.1, 0.0, 0.5, 0.5])),
    ):
        reply = client.chat.completions.create(
            model=MODEL, messages=messages(words, path), extra_body={"grounding": wish}
        )
        (choice,) = reply.choices
        assert choice.message.content == answer.text
        assert found(choice.message.grounding) == expected(answer)
        assert choice.finish_reason == answer.finish
        response = client.responses.create(
            model=MODEL, input=items(words, path), extra_body={"grounding": wish}
        )
        assert response.output_text == answer.text
        assert found(response.output[0].content[0].grounding) == expected(answer)


def test_a_stream_says_the_same_in_parts(client, model):
    stream = client.chat.completions.create(
        model=MODEL, messages=messages(), stream=True, stream_options={"include_usage": True}
    )
    text, entities, usage = "", [], None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            entities += (getattr(choice.delta, "grounding", None) or {}).get("entities", [])
    answer = model.caption(SNOWMAN)
    assert text == answer.text
    assert found({"entities": entities}) == expected(answer)
    assert usage.completion_tokens == answer.tokens
    assert usage.prompt_tokens_details.image_tokens == 64


def test_the_clients_own_way_to_put_a_stream_together_works(client, model):
    answer = model.caption(SNOWMAN, detailed=True)
    words = messages("Describe this image in detail:")
    with client.chat.completions.stream(model=MODEL, messages=words, logprobs=True) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta"} <= kinds
    assert message.content == answer.text
    assert found(message.grounding) == expected(answer)
    with client.responses.stream(
        model=MODEL, input=items("Describe this image in detail:")
    ) as events:
        kinds = {event.type for event in events}
        response = events.get_final_response()
    assert {"response.created", "response.output_text.delta", "response.completed"} <= kinds
    assert response.output_text == answer.text
    assert found(response.output[0].content[0].grounding) == expected(answer)


def test_events_of_a_response_are_typed(client, model):
    events = list(client.responses.create(model=MODEL, input=items(), stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert type(events[0]).__name__ == "ResponseCreatedEvent"
    assert type(events[-1]).__name__ == "ResponseCompletedEvent"
    (first, *_) = [event for event in events if event.type == "response.grounding.delta"]
    answer = model.caption(SNOWMAN)
    assert first.delta["entities"][0]["phrase"] == answer.entities[0].phrase


def test_many_ask_side_by_side_through_the_asynchronous_client(server, model):
    async def all_of_them() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any") as client:

            async def streamed(words: str) -> str:
                stream = await client.chat.completions.create(
                    model=MODEL, messages=messages(words), stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            async def whole(words: str) -> str:
                reply = await client.chat.completions.create(model=MODEL, messages=messages(words))
                return reply.choices[0].message.content or ""

            return await asyncio.gather(*(each(w) for w in wordings for each in (streamed, whole)))

    wordings = ["An image of", "Describe this image in detail:", "Is there a fire?"]
    path = SNOWMAN
    answers = [
        model.caption(path),
        model.caption(path, detailed=True),
        model.ask(path, "Is there a fire?"),
    ]
    texts = asyncio.run(all_of_them())
    assert texts == [answer.text for answer in answers for _ in range(2)]


class Found(BaseModel):
    label: str
    bbox: list[float]


class Things(BaseModel):
    caption: str
    things: list[Found]


def test_a_class_of_the_callers_is_filled(client, model):
    answer = model.caption(SNOWMAN)
    reply = client.chat.completions.parse(model=MODEL, messages=messages(), response_format=Things)
    parsed = reply.choices[0].message.parsed
    assert parsed.caption == answer.text
    assert [(one.label, one.bbox) for one in parsed.things] == [
        (entity.phrase, list(box.corners)) for entity in answer.entities for box in entity.boxes
    ]
    response = client.responses.parse(model=MODEL, input=items(), text_format=Things)
    assert response.output_parsed == parsed


def test_choices_seeds_and_probabilities(client):
    def ask() -> Any:
        return client.chat.completions.create(
            model=MODEL,
            messages=messages(),
            n=3,
            temperature=1.2,
            seed=11,
            logprobs=True,
            top_logprobs=2,
        )

    one, other = ask(), ask()
    texts = [choice.message.content for choice in one.choices]
    assert texts == [choice.message.content for choice in other.choices]
    assert [choice.index for choice in one.choices] == [0, 1, 2]
    for choice in one.choices:
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)


def test_an_answer_can_be_asked_about_further(client):
    first = client.chat.completions.create(model=MODEL, messages=messages())
    said = first.choices[0].message.model_dump()  # as it came, with what is ours
    more = [*messages(), said, {"role": "user", "content": "Is there a fire?"}]
    assert client.chat.completions.create(model=MODEL, messages=more).choices[0].message.content
    response = client.responses.create(model=MODEL, input=items())
    more = [*items(), *response.output, {"role": "user", "content": "Is there a fire?"}]
    assert client.responses.create(model=MODEL, input=more).output_text


def test_the_raw_reply_has_its_headers(client):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=messages(), extra_headers={"X-Request-Id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse()._request_id == "mine-1"
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=messages(), stream=True
    ) as streaming:
        assert streaming.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in streaming.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_the_model_is_listed_under_the_name_it_answers_to(client):
    names = [model.id for model in client.models.list()]
    assert MODEL in names
    assert client.chat.completions.create(model=names[0], messages=messages()).model == names[0]


# Every error is the exception that clients catch


def error_of(call: Any) -> tuple[str, str | None]:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    assert caught.value.type is not None
    return type(caught.value).__name__, caught.value.code


def test_what_is_wrong_with_a_request_is_a_typed_error(client):
    def ask(**more: Any) -> Any:
        given = {"model": MODEL, "messages": messages(), **more}
        return lambda: client.chat.completions.create(**given)

    bad = ("BadRequestError", "invalid_request")
    assert error_of(ask(temperature=3)) == bad
    assert error_of(ask(tools=[{"type": "function", "function": {"name": "f"}}])) == (
        "BadRequestError",
        "unsupported_value",
    )
    fetched = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    assert error_of(ask(messages=[{"role": "user", "content": fetched}])) == (
        "BadRequestError",
        "image_url_not_allowed",
    )
    assert error_of(ask(model="gpt-9")) == ("NotFoundError", "model_not_found")
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://example.com"}
    assert error_of(ask(extra_headers=elsewhere)) == ("PermissionDeniedError", "cross_site_refused")
    packed = {"Content-Encoding": "gzip"}
    assert error_of(ask(extra_headers=packed)) == ("APIStatusError", "unsupported_encoding")
    large = [{"role": "user", "content": "x" * (17 * 2**20)}]
    assert error_of(ask(messages=large)) == ("APIStatusError", "body_too_large")
    assert error_of(lambda: client.embeddings.create(model=MODEL, input="x")) == (
        "NotFoundError",
        "not_found",
    )
    assert error_of(
        lambda: client.responses.create(model=MODEL, input=items(), previous_response_id="resp_1")
    ) == ("BadRequestError", "unsupported_value")


def test_a_key_that_is_unknown_or_has_asked_enough_is_a_typed_error(tmp_path):
    key, keys = new_key(), tmp_path / "keys.txt"
    keys.write_text(f"{line_for('anna', key)} rate=2/min\n")

    def ask(key: str) -> Any:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
        return client.chat.completions.create(model=MODEL, messages=messages())

    with serving("--api-key-file", str(keys)) as server:
        for wrong in ("wrong", new_key()):
            assert error_of(lambda wrong=wrong: ask(wrong)) == (
                "AuthenticationError",
                "invalid_api_key",
            )
        assert ask(key).choices[0].message.content
        assert ask(key).choices[0].message.content
        with pytest.raises(openai.RateLimitError) as caught:
            ask(key)
        assert caught.value.code == "rate_limited"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


def test_a_full_server_is_asked_again_by_the_client_itself():
    with serving("--running", "1", "--queued", "0") as server:
        url = f"{server.url}/v1"
        patient = openai.OpenAI(base_url=url, api_key="any", max_retries=8)
        hasty = openai.OpenAI(base_url=url, api_key="any", max_retries=0)
        held = hasty.chat.completions.create(model=MODEL, messages=messages(), stream=True, **LONG)
        next(iter(held))
        assert error_of(
            lambda: hasty.chat.completions.create(model=MODEL, messages=messages())
        ) == ("RateLimitError", "overloaded")
        held.close()  # the client leaves, and its place is free
        raw = patient.chat.completions.with_raw_response.create(model=MODEL, messages=messages())
        assert raw.parse().choices[0].message.content


def test_an_answer_that_comes_too_late_is_a_typed_error_also_in_a_stream():
    with serving("--deadline", "0.01") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)

        def ask(**more: Any) -> Any:
            return client.chat.completions.create(
                model=MODEL, messages=messages(), **{**LONG, **more}
            )

        assert error_of(ask) == ("InternalServerError", "deadline_exceeded")
        with pytest.raises(openai.APIError) as caught:
            list(ask(stream=True))
        assert caught.value.code == "deadline_exceeded"
        assert not isinstance(caught.value, openai.APIStatusError)  # the head had said 200
        with pytest.raises(openai.APIError) as caught:
            list(
                client.responses.create(
                    model=MODEL,
                    input=items("Describe this image in detail:"),
                    temperature=2.0,
                    max_output_tokens=400,
                    stream=True,
                    extra_body={"grounding": {"phrases": [f"a thing {at}" for at in range(64)]}},
                )
            )
        assert caught.value.code == "deadline_exceeded"


def test_a_server_that_is_not_there_is_a_typed_error():
    with serving() as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.001).chat.completions.create(
                model=MODEL, messages=messages(), **LONG
            )
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model=MODEL, messages=messages())


def test_errors_have_the_shape_of_the_standard(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=messages(), n=99)
    error = json.loads(caught.value.response.text)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == "n"
    assert caught.value.body == error
