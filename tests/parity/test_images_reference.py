"""Pixels against the reference's image processor, with its square resize."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kosmos2.config import Config, VisionConfig
from kosmos2.images import open_picture, to_pixels

transformers = pytest.importorskip("transformers", reason="transformers is the reference")


@pytest.fixture(scope="module")
def reference():
    return transformers.CLIPImageProcessorPil(use_square_size=True)


def theirs(reference, image: Image.Image) -> np.ndarray:
    return np.asarray(reference(image, return_tensors="np")["pixel_values"][0])


def ours(source) -> np.ndarray:
    return to_pixels(open_picture(source), VisionConfig())


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_a_photograph_has_the_pixels_of_the_reference(reference, photo, mode: str) -> None:
    image = photo.convert(mode)
    if mode == "RGBA":
        image.putalpha(photo.convert("L"))
    pixels = ours(image)
    assert (pixels.shape, pixels.dtype) == ((3, 224, 224), np.float32)
    assert np.array_equal(pixels, theirs(reference, image))


@pytest.mark.parametrize("name", ["two_dogs.jpg", "snowman.png", "carnaby_street.jpg"])
def test_sample_photographs_have_the_pixels_of_the_reference(
    reference, shared_data: Path, name: str
) -> None:
    assert np.array_equal(
        ours(shared_data / name), theirs(reference, Image.open(shared_data / name))
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (223, 225), (224, 224), (1000, 7)])
def test_any_shape_is_squashed_as_in_the_reference(reference, size: tuple[int, int]) -> None:
    values = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(values)
    # The reference takes channels from a shape it has to guess; it is told where that goes wrong.
    expected = reference(image, return_tensors="np", input_data_format="channels_last")
    assert np.array_equal(ours(image), expected["pixel_values"][0])


def test_another_image_size_is_as_in_the_reference(photo: Image.Image) -> None:
    vision = Config.tiny().vision
    side = vision.image_size
    sizes = {name: {"height": side, "width": side} for name in ("size", "crop_size")}
    # Its `use_square_size` means 224 and nothing else; a height and a width do the same.
    reference = transformers.CLIPImageProcessorPil(**sizes)
    assert np.array_equal(to_pixels(open_picture(photo), vision), theirs(reference, photo))


def test_known_pixels_of_two_dogs(shared_data: Path) -> None:
    """The upper-left pixels, red green blue, that the reference's tests found without our code."""
    again = io.BytesIO()
    Image.open(shared_data / "two_dogs.jpg").save(again, "JPEG")  # as they do: it costs some detail
    known = [
        [-0.65358526, -0.63898683, -0.62438840],
        [-0.20629698, -0.19128920, -0.19128920],
        [-0.58435565, -0.57013553, -0.57013553],
    ]
    assert np.allclose(ours(again.getvalue())[:, 0, :3], known, atol=1e-6)
