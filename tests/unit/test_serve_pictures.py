"""From an address in a request to pixels: the same as on the plain road, or refused by name."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import bombs
from kosmos2.config import VisionConfig
from kosmos2.errors import EngineError
from kosmos2.images import open_picture, squashed
from kosmos2.result import Grounded
from kosmos2.serve.failures import Refused
from kosmos2.serve.pictures import Decoded, Pictures
from kosmos2.serve.settings import Limits

VISION = VisionConfig(image_size=30, patch_size=6)
PLACE = "messages[2].content[0]"


class Opener:
    """Pictures in an event loop of their own, for tests that are not asynchronous."""

    def __init__(self) -> None:
        self.restarts = 0
        self.pictures = Pictures(Limits(), VISION, on_restart=self.restarted)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.run(self.pictures.start())

    def restarted(self) -> None:
        self.restarts += 1

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def open(self, url: str) -> Decoded:
        return self.run(self.pictures.open(url, param=PLACE))

    def refusal(self, url: str) -> str:
        with pytest.raises(Refused) as refused:
            self.open(url)
        assert refused.value.status == 400
        assert refused.value.param == PLACE
        return refused.value.code

    def close(self) -> None:
        self.run(self.pictures.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    made = Opener()
    yield made
    made.close()
    assert not made.restarts, "no picture of this file costs a process"


@pytest.mark.parametrize("kind", bombs.FORMATS)
def test_the_six_formats_give_the_pixels_of_the_plain_road(opener: Opener, kind: str) -> None:
    data = bombs.good(kind)
    found = opener.open(bombs.data_url(data))
    assert (found.width, found.height, found.rotated) == (30, 20, 0)
    assert found.pixels.dtype == np.uint8
    assert np.array_equal(found.pixels, squashed(open_picture(data), VISION.image_size))
    assert found.pixels.flags.writeable


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it found
@pytest.mark.parametrize("name", bombs.strange())
def test_odd_pictures_are_read_and_read_alike(opener: Opener, name: str) -> None:
    data = bombs.strange()[name]
    found = opener.open(bombs.data_url(data, "image/jpeg"))
    assert (found.width, found.height) == (30, 20)
    assert found.rotated == (90 if "turned" in name else 0)
    assert np.array_equal(found.pixels, squashed(open_picture(data), VISION.image_size))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_said_how_far_a_picture_was_turned(opener: Opener, kind: str) -> None:
    turns = []
    for orientation in range(1, 9):
        exif = bombs.Image.Exif()
        exif[0x0112] = orientation
        data = bombs.encoded(bombs.colours(), kind, exif=exif)
        turns.append(opener.open(bombs.data_url(data)).rotated)
    assert turns == [0, 0, 180, 180, 90, 90, 270, 270]


@pytest.mark.parametrize(
    ("group", "code"),
    [
        ("foreign", "image_format_unsupported"),
        ("damaged", "image_invalid"),
        ("too_large", "image_too_large"),
    ],
)
def test_what_cannot_be_read_is_refused_by_what_is_wrong(
    opener: Opener, group: str, code: str
) -> None:
    for name, data in getattr(bombs, group)().items():
        assert opener.refusal(bombs.data_url(data)) == code, name


@pytest.mark.parametrize(
    ("size", "code"),
    [((1, 200), None), ((200, 1), None), ((1, 1), None), ((1, 201), "image_too_large")],
)
def test_tiny_and_thin_ones_are_pictures_up_to_a_limit(opener: Opener, size, code) -> None:
    url = bombs.data_url(bombs.encoded(bombs.colours(*size)))
    if code:
        assert opener.refusal(url) == code
    else:
        assert (opener.open(url).width, opener.open(url).height) == size


@pytest.mark.parametrize(
    "url",
    ["", "a.png", "/etc/passwd", "file:///etc/passwd", "http://example.org/a.png", "https://a.b/"],
)
def test_only_addresses_that_hold_their_bytes_are_taken_by_default(
    opener: Opener, url: str
) -> None:
    assert opener.refusal(url) == "image_url_not_allowed"


def test_a_digest_is_of_the_bytes_that_were_sent(opener: Opener) -> None:
    """Never of what a file says of itself, and of every byte."""
    data = bombs.good()
    names = [
        opener.open(bombs.data_url(data)).digest,
        opener.open(bombs.data_url(data, "image/jpeg")).digest,
        opener.open(bombs.data_url(data + b"!")).digest,
        hashlib.sha256(data).hexdigest(),
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3, "the version of what is made of it counts as well"


def test_the_name_is_known_before_the_picture_is_decoded(opener: Opener) -> None:
    url = bombs.data_url(bombs.good())
    encoded = opener.run(opener.pictures.read(url, param=PLACE))
    assert encoded.digest == opener.open(url).digest
    assert "data" not in repr(encoded)


def test_many_at_once_get_each_their_own(opener: Opener) -> None:
    files = [bombs.encoded(bombs.colours(20 + n, 20, seed=n)) for n in range(40)]

    async def all_of_them() -> list[Decoded]:
        urls = map(bombs.data_url, files)
        return await asyncio.gather(*(opener.pictures.open(u, param=PLACE) for u in urls))

    for data, found in zip(files, opener.run(all_of_them()), strict=True):
        assert np.array_equal(found.pixels, squashed(open_picture(data), VISION.image_size))


def test_a_large_photograph_is_read_as_on_the_plain_road(opener: Opener, photo) -> None:
    data = bombs.encoded(photo.resize((3000, 2000)), "JPEG", quality=95)
    assert len(data) > 2**18, "long enough for its own thread"
    found = opener.open(bombs.data_url(data))
    assert np.array_equal(found.pixels, squashed(open_picture(data), VISION.image_size))


def test_an_answer_may_hold_it_but_nobody_can_draw_on_it(opener: Opener) -> None:
    found = opener.open(bombs.data_url(bombs.good()))
    answer = Grounded(text="a picture", picture=found)
    assert (answer.image.width, answer.image.height) == (30, 20)
    with pytest.raises(EngineError, match="was not kept"):
        found.jpeg()
    assert "pixels" not in repr(found)


def test_a_worker_loads_neither_the_network_nor_the_server() -> None:
    asked = "import json, sys, kosmos2.serve.pictures.worker; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "PIL.Image" in loaded
    unwanted = {
        "torch", "fastapi", "starlette", "uvicorn", "pydantic", "h11", "jax",
        "kosmos2.engine", "kosmos2.model", "kosmos2.serve.app", "kosmos2.serve.settings",
    }  # fmt: skip
    assert not loaded & unwanted
