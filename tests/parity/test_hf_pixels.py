"""Pixels against the reference's image processor on Pillow: every kind of picture and setting."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kosmos2.errors import ConfigError, ImageError
from kosmos2.hf import notices
from kosmos2.hf.image_processor import Kosmos2ImageProcessor

transformers = pytest.importorskip("transformers", reason="transformers is the reference")

SQUARE = {"height": 20, "width": 20}
SMALL = {"size": SQUARE, "crop_size": SQUARE}


@pytest.fixture(scope="module")
def reference():
    return transformers.CLIPImageProcessorPil(**SMALL)


@pytest.fixture(scope="module")
def ours() -> Kosmos2ImageProcessor:
    return Kosmos2ImageProcessor(**SMALL)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def same(ours: Any, theirs: Any) -> None:
    assert list(ours) == list(theirs) == ["pixel_values"]
    ours, theirs = ours["pixel_values"], theirs["pixel_values"]
    assert type(ours) is type(theirs)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert bool((one == other).all())


def test_the_released_settings_are_the_default(photo: Image.Image) -> None:
    theirs = transformers.CLIPImageProcessorPil(use_square_size=True)
    for image in (photo, photo.resize((300, 90)), photo.crop((0, 0, 31, 200)).convert("L")):
        same(Kosmos2ImageProcessor()(image), theirs(image))


@pytest.mark.parametrize(
    "mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"]
)
def test_each_mode_of_an_image_is_read_alike(ours, reference, mode: str) -> None:
    if mode in ("LA", "RGBA"):
        image = Image.fromarray(noise(30, 40, 4)).convert(mode)
    elif mode in ("LAB", "HSV", "CMYK", "YCbCr", "RGBX"):
        image = Image.frombytes(
            mode, (40, 30), noise(30, 40, len(Image.new(mode, (1, 1)).getbands())).tobytes()
        )
    else:
        image = Image.fromarray(noise(30, 40, 3)).convert(mode)
    same(ours(image), reference(image))


def test_a_palette_with_transparency_is_seen_on_white(ours, reference) -> None:
    image = Image.fromarray(noise(30, 40, 3)).convert("P")
    image.info["transparency"] = 7
    same(ours(image), reference(image))


@pytest.mark.parametrize(
    "shape",
    [(30, 40, 3), (3, 30, 40), (30, 40, 4), (4, 30, 40), (30, 40, 1), (1, 30, 40), (3, 9, 4)],
)
def test_each_layout_of_an_array_is_read_alike(ours, reference, shape: tuple[int, ...]) -> None:
    array = noise(*shape)
    same(ours(array), reference(array))
    same(ours(torch.from_numpy(array)), reference(torch.from_numpy(array)))
    same(ours(array.astype(np.int64)), reference(array.astype(np.int64)))


@pytest.mark.parametrize("tensors", [None, "np", "pt"])
def test_one_many_and_nested_pictures_come_out_alike(ours, reference, tensors) -> None:
    image, array = Image.fromarray(noise(9, 12, 3)), noise(2, 11, 8, 3)
    for images in (
        image,
        [image],
        (image, image),
        [[image], [image, image]],
        array,
        [array, array],
        [[image], []],
    ):
        same(ours(images, return_tensors=tensors), reference(images, return_tensors=tensors))


def settings_at_random(draw: random.Random) -> dict[str, Any]:
    side = draw.randrange(2, 30)
    menu = {
        "do_resize": draw.random() < 0.6,
        "size": draw.choice([{"height": side, "width": 17}, {"shortest_edge": side}, side]),
        "resample": draw.choice([0, 1, 2, 3, 4, 5, Image.Resampling.BILINEAR]),
        "do_center_crop": draw.random() < 0.5,
        "crop_size": draw.choice([{"height": 12, "width": side}, side]),
        "do_rescale": draw.random() < 0.5,
        "rescale_factor": draw.choice([1 / 255, 1 / 127.5]),
        "do_normalize": draw.random() < 0.6,
        "image_mean": draw.choice([0.5, [0.1, 0.2, 0.3], (0.5, 0.5, 0.5)]),
        "image_std": draw.choice([0.5, [0.1, 0.2, 0.3]]),
        "input_data_format": draw.choice([None, "channels_last"]),
    }
    return {name: menu[name] for name in draw.sample([*menu], draw.randrange(len(menu)))}


@pytest.mark.filterwarnings("ignore:size has a shortest_edge")
def test_a_thousand_calls_with_settings_at_random_are_alike(ours, reference) -> None:
    draw = random.Random(5)
    answered = 0
    for round in range(1000):
        height, width = draw.randrange(1, 33), draw.randrange(5, 33)
        values: Any = noise(height, width, 3, seed=round)
        if draw.random() < 0.2:
            values = values.astype(np.float32) / draw.choice([255, 1])
        elif draw.random() < 0.4:
            values = Image.fromarray(values)
        settings = settings_at_random(draw)
        try:
            theirs = reference(values, **settings)
        except ValueError:
            with pytest.raises(ValueError):  # noqa: PT011
                ours(values, **settings)
            continue
        rescaled = settings.get("do_rescale", True)
        if getattr(values, "dtype", None) == np.float32 and values.max() <= 1 and rescaled:
            with pytest.raises(ImageError, match="do_rescale=False"):
                ours(values, **settings)
            continue
        same(ours(values, **settings), theirs)
        answered += 1
    assert answered > 700


@pytest.mark.parametrize(
    "images",
    [
        noise(9, 9),
        [noise(9, 9)],
        noise(9, 9, 5),
        noise(1, 1, 1, 3, 3),
        [Image.new("RGB", (3, 3)), [Image.new("RGB", (3, 3))]],
        [[[Image.new("RGB", (3, 3))]]],
        "no such file.png",
        "<grounding> An image of",
        None,
        [None],
        7,
        {"image": 1},
        noise(9, 9, 3) + 0.5,
        noise(9, 9, 3) - 300.0,
        np.full((9, 9, 3), np.nan),
        noise(9, 9, 3).astype(np.int64) * 9,
    ],
)
def test_what_the_reference_refuses_is_refused_with_a_way_out(ours, reference, images: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        reference(images)
    with pytest.raises(ImageError, match=r"; |\? "):
        ours(images)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": 3}},
        {"crop_size": {"shortest_edge": 3}},
        {"image_mean": [0.1, 0.2]},
        {"size": {"shortest_edge": -1}},
    ],
)
def test_settings_that_the_reference_refuses_are_refused(ours, reference, settings: dict) -> None:
    image = Image.new("RGB", (9, 9))
    with pytest.raises(Exception):  # noqa: B017, PT011 - it has a class of error for each
        reference(image, **settings)
    with pytest.raises(ConfigError, match="give "):
        ours(image, **settings)


def test_floats_from_0_to_1_are_refused_where_the_reference_makes_nonsense(ours, reference) -> None:
    fractions = noise(9, 9, 3) / np.float32(255)
    grey = np.stack(reference(fractions)["pixel_values"])
    assert np.ptp(grey[:, 0]) < 0.1  # nearly one colour, whatever the picture
    for images in (fractions, torch.from_numpy(fractions), [fractions.astype(np.float64)]):
        with pytest.raises(ImageError, match="do_rescale=False"):
            ours(images)
    same(ours(fractions, do_rescale=False), reference(fractions, do_rescale=False))


def test_an_image_is_not_turned_and_a_path_is(ours, reference, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(12, 30, 3)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        same(ours(image), reference(image))
        assert not np.array_equal(
            ours(image)["pixel_values"], ours(str(tmp_path / "turned.png"))["pixel_values"]
        )
    same(ours(str(tmp_path / "turned.png")), reference(str(tmp_path / "turned.png")))


def test_a_damaged_image_is_refused(ours, tmp_path: Path) -> None:
    Image.fromarray(noise(60, 60, 3)).save(tmp_path / "whole.jpg")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with Image.open(cut) as image, pytest.raises(ImageError, match="fetch it again"):
        ours(image)


def test_a_shortest_edge_comes_with_a_notice_that_boxes_will_be_wrong() -> None:
    notices.forget()
    with pytest.warns(notices.Notice, match='"width": 224'):
        Kosmos2ImageProcessor(size={"shortest_edge": 20})


def test_settings_are_saved_and_read_on_both_sides(ours, tmp_path: Path) -> None:
    image = Image.fromarray(noise(30, 40, 3))
    ours.save_pretrained(tmp_path / "ours")
    there = transformers.CLIPImageProcessorPil.from_pretrained(tmp_path / "ours")
    same(ours(image), there(image))
    changed = transformers.CLIPImageProcessorPil(**SMALL, image_mean=[0.1, 0.2, 0.3], resample=0)
    changed.save_pretrained(tmp_path / "theirs")
    back = Kosmos2ImageProcessor.from_pretrained(tmp_path / "theirs")
    same(back(image), changed(image))
    same(
        Kosmos2ImageProcessor.from_pretrained(tmp_path / "theirs", do_resize=False)(image),
        changed(image, do_resize=False),
    )


def test_an_old_file_with_a_square_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"shortest_edge": 224}, "crop_size": 224, "use_square_size": true, '
        '"feature_extractor_type": "CLIPFeatureExtractor", "processor_class": "Kosmos2Processor"}'
    )
    image = Image.fromarray(noise(30, 90, 3))
    theirs = transformers.CLIPImageProcessorPil.from_pretrained(tmp_path)
    same(Kosmos2ImageProcessor.from_pretrained(tmp_path)(image), theirs(image))


def test_settings_are_attributes_and_a_call_can_have_its_own(reference) -> None:
    image = Image.fromarray(noise(30, 40, 3))
    mine = Kosmos2ImageProcessor(**SMALL)
    plain = mine(image)
    same(mine(image, do_normalize=False), reference(image, do_normalize=False))
    same(mine(image), plain)
    mine.do_normalize = False
    same(mine(image), reference(image, do_normalize=False))
    with pytest.raises(ConfigError, match="did you mean do_normalize"):
        mine(image, do_normalise=False)
