"""Moondream's official client, pointed at a live server that wants a key."""

from __future__ import annotations

import base64
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kosmos2 import Kosmos2

pytest.importorskip("fastapi", reason="the server needs the serve extra")

from doors import EXAMPLES
from serving import Server, serving

moondream = pytest.importorskip("moondream", reason="`make test` installs the client")


@pytest.fixture(scope="module")
def key() -> str:
    from kosmos2.serve.keys import new_key

    return new_key()


@pytest.fixture(scope="module")
def server(key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from kosmos2.serve.keys import line_for

    file: Path = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text(line_for("moondream", key) + "\n")
    with serving("--api-key-file", str(file)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Any:
    return moondream.vl(endpoint=f"{server.url}/v1", api_key=key)


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load("demo")


@pytest.fixture(params=["snowman", "hamburger"])
def picture(request: pytest.FixtureRequest) -> Image.Image:
    return Image.open(EXAMPLES / f"{request.param}.jpg")


def as_sent(client: Any, picture: Image.Image) -> bytes:
    """The file that the client makes of a picture."""
    return base64.b64decode(client.encode_image(picture).image_url.partition(",")[2])


@pytest.mark.parametrize("length", ["short", "normal", "long"])
def test_captions(model: Kosmos2, client: Any, picture: Image.Image, length: Any) -> None:
    detailed = {"detailed": True, "max_new_tokens": 256 if length == "long" else 128}
    answer = model.caption(as_sent(client, picture), **({} if length == "short" else detailed))
    assert client.caption(picture, length=length) == {"caption": answer.text}
    chunks = list(client.caption(picture, length=length, stream=True)["caption"])
    assert len(chunks) > 1
    assert "".join(chunks) == answer.text


def test_questions(model: Kosmos2, client: Any, picture: Image.Image) -> None:
    question = "What is below the snowman?"
    answer = model.ask(as_sent(client, picture), question)
    assert client.query(picture, question) == {"answer": answer.text}
    assert "".join(client.query(picture, question, stream=True)["answer"]) == answer.text
    told = client.query(picture, question, reasoning=True)
    assert told["answer"] == answer.text
    assert [
        told["answer"][one["start_idx"] : one["end_idx"]] for one in told["reasoning"]["grounding"]
    ] == [entity.phrase for entity in answer.entities]


def test_objects_and_points(model: Kosmos2, client: Any, picture: Image.Image) -> None:
    answer = model.ground(as_sent(client, picture), "a snowman", every=True)
    boxes = [box for entity in answer.entities for box in entity.boxes]
    objects = client.detect(picture, "a snowman")["objects"]
    assert [(o["x_min"], o["y_min"], o["x_max"], o["y_max"]) for o in objects] == [
        box.corners for box in boxes
    ]
    points = client.point(picture, "a snowman")["points"]
    assert [(point["x"], point["y"]) for point in points] == [
        ((b.x1 + b.x2) / 2, (b.y1 + b.y2) / 2) for b in boxes
    ]
    one = client.detect(picture, "a snowman", settings={"max_objects": 1})["objects"]
    assert len(one) <= 1


def test_its_boxes_are_read_by_supervision(client: Any) -> None:
    sv = pytest.importorskip("supervision", reason="supervision reads what the client returns")
    picture = Image.open(EXAMPLES / "snowman.jpg")
    objects = client.detect(picture, "a snowman")
    found = sv.Detections.from_vlm(sv.VLM.MOONDREAM, objects, resolution_wh=picture.size)
    assert len(found) == len(objects["objects"]) > 0


def test_without_its_key_the_client_is_turned_away(server: Server) -> None:
    stranger = moondream.vl(endpoint=f"{server.url}/v1", api_key="guessed")
    with pytest.raises(urllib.error.HTTPError) as refused:
        stranger.detect(Image.new("RGB", (64, 64)), "a dog")
    assert refused.value.code == 401


def test_what_is_not_followed_is_refused(client: Any, picture: Image.Image) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.point(picture, "a dog", spatial_refs=[[0.5, 0.5]])
    assert refused.value.code == 400
