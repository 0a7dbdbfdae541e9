"""The model card's drawing helper: its inputs, its blue-first array, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from kosmos2.drawing import draw
from kosmos2.errors import ImageError, InputError, MissingImageError, PromptError
from kosmos2.geometry import Box
from kosmos2.hf import draw_entity_boxes_on_image, notices
from kosmos2.images import open_picture, to_pixels
from kosmos2.markup import Entity

ENTITIES = [
    ("a dog", (0, 5), [(0.25, 0.25, 0.75, 0.75)]),
    ("2 cats", (10, 16), [(0.0, 0.0, 0.2, 0.2), (0.8, 0.8, 1.0, 1.0)]),
]
SAME = [
    Entity(name, *span, tuple(Box(*corners) for corners in boxes)) for name, span, boxes in ENTITIES
]


@pytest.fixture
def picture() -> Image.Image:
    """Red on the left, blue on the right, so that swapped colours are seen."""
    image = Image.new("RGB", (240, 160), (200, 30, 10))
    image.paste((10, 30, 200), (120, 0, 240, 160))
    return image


def as_rgb(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[:, :, ::-1])


def test_it_is_our_drawing_with_blue_first(picture):
    array = draw_entity_boxes_on_image(picture, ENTITIES)
    assert array.dtype == np.uint8
    assert array.flags["C_CONTIGUOUS"]
    assert as_rgb(array).tobytes() == draw(picture, SAME).tobytes()


def test_the_picture_handed_in_stays_as_it_is(picture):
    before = picture.tobytes()
    draw_entity_boxes_on_image(picture, ENTITIES)
    assert picture.tobytes() == before


def test_without_entities_it_is_the_picture_as_the_card_gives_it(picture):
    array = draw_entity_boxes_on_image(picture, [])
    assert np.array_equal(array, np.array(picture)[:, :, [2, 1, 0]])


def test_an_image_and_its_path_are_drawn_alike(picture, tmp_path):
    picture.save(tmp_path / "picture.png")
    from_object = draw_entity_boxes_on_image(picture, ENTITIES)
    for path in (tmp_path / "picture.png", str(tmp_path / "picture.png")):
        assert np.array_equal(draw_entity_boxes_on_image(path, ENTITIES), from_object)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalised_numbers_become_the_picture_they_were_made_from(photo, dtype):
    """To numbers and back is the squashed picture; a rounding down, as the card's, would miss."""
    from kosmos2.config import VisionConfig

    vision = VisionConfig(image_size=60, patch_size=6)
    pixels = torch.from_numpy(to_pixels(open_picture(photo), vision)).to(dtype)
    square = photo.resize((60, 60), Image.Resampling.BICUBIC)
    for entities in ([], ENTITIES):
        array = draw_entity_boxes_on_image(pixels, entities)
        assert np.array_equal(array, draw_entity_boxes_on_image(square, entities))


def test_numbers_of_training_and_of_half_precision_are_taken_too(photo):
    values = torch.randn(3, 20, 30, requires_grad=True)
    exact = draw_entity_boxes_on_image(values, [])
    rough = draw_entity_boxes_on_image(values.bfloat16(), [])
    assert exact.shape == (20, 30, 3)
    assert np.abs(exact.astype(int) - rough.astype(int)).max() <= 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1"])
def test_any_colour_mode_is_drawn_on(picture, mode):
    assert draw_entity_boxes_on_image(picture.convert(mode), ENTITIES).shape == (160, 240, 3)


def test_a_file_is_seen_upright_and_an_object_as_it_lies_as_by_the_processor(picture, tmp_path):
    note = Image.Exif()
    note[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=note)
    lying = draw_entity_boxes_on_image(Image.open(tmp_path / "turned.png"), ENTITIES)
    assert np.array_equal(lying, draw_entity_boxes_on_image(picture, ENTITIES))
    upright = draw_entity_boxes_on_image(tmp_path / "turned.png", ENTITIES)
    turned = picture.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(upright, draw_entity_boxes_on_image(turned, ENTITIES))


def test_it_is_saved_and_shown_when_asked(picture, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda self: shown.append(self.copy()))
    array = draw_entity_boxes_on_image(picture, ENTITIES, show=True, save_path=tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").tobytes() == as_rgb(array).tobytes()
    assert [image.tobytes() for image in shown] == [as_rgb(array).tobytes()]
    draw_entity_boxes_on_image(picture, ENTITIES)
    assert len(shown) == 1


def test_a_picture_without_entities_is_saved_all_the_same(picture, tmp_path):
    draw_entity_boxes_on_image(picture, [], save_path=str(tmp_path / "plain.png"))
    assert Image.open(tmp_path / "plain.png").tobytes() == picture.tobytes()


def test_inverted_boxes_are_drawn_and_boxes_of_no_entity_are_not(picture):
    inverted = [("x", (0, 1), [(0.75, 0.75, 0.25, 0.25)])]
    straight = [("x", (0, 1), [(0.25, 0.25, 0.75, 0.75)])]
    one, other = (draw_entity_boxes_on_image(picture, given) for given in (inverted, straight))
    assert np.array_equal(one, other)
    nowhere = draw_entity_boxes_on_image(picture, [("x", (0, 1), [])])
    assert np.array_equal(nowhere, draw_entity_boxes_on_image(picture, []))


def test_boxes_in_pixels_are_warned_about(picture):
    notices.forget()
    with pytest.warns(notices.Notice, match="divide pixels by width and height"):
        draw_entity_boxes_on_image(picture, [("x", (0, 1), [(60, 40, 180, 120)])])


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((4, 4, 3), np.uint8), "which colour is first"),
        (torch.zeros(1, 3, 4, 4), r"pixel_values\[0\]"),
        (torch.zeros(4, 4, 3), "4 x 4 x 3"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "torch.uint8"),
        (torch.full((3, 4, 4), float("nan")), "not finite"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_way_out(image, complaint):
    with pytest.raises(ImageError, match=complaint):
        draw_entity_boxes_on_image(image, ENTITIES)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(MissingImageError, match=r"nowhere\.png"):
        draw_entity_boxes_on_image(tmp_path / "nowhere.png", [])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.png"):
        draw_entity_boxes_on_image(tmp_path / "text.png", [])


def test_a_file_cut_short_is_named(photo, tmp_path):
    photo.save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    for source in (tmp_path / "half.png", Image.open(tmp_path / "half.png")):
        with pytest.raises(ImageError, match=r"half\.png"):
            draw_entity_boxes_on_image(source, [])


@pytest.mark.parametrize(
    ("entities", "complaint"),
    [
        (("a dog", ENTITIES), "give the second"),
        (None, "NoneType"),
        ("a dog", "a str"),
        (["a dog"], "entity 0"),
        ([ENTITIES[0], ("a cat", [(0, 0, 1, 1)])], "entity 1"),
        ([("a dog", (0, 5), None)], "entity 0"),
        ([(7, (0, 1), [])], "its name is a text"),
        ([("a dog", (0, 5), [(0.1, 0.2, 0.3)])], "entity 0, 'a dog'.*four numbers"),
        ([("a dog", (0, 5), (0.1, 0.2, 0.3, 0.4))], "entity 0, 'a dog'.*four numbers"),
        ([("a dog", (0, 5), [(0.1, 0.2, 0.3, float("nan"))])], "finite"),
    ],
)
def test_what_are_no_entities_is_refused_by_place(picture, entities, complaint):
    with pytest.raises(PromptError, match=complaint) as caught:
        draw_entity_boxes_on_image(picture, entities)
    assert isinstance(caught.value, ValueError)  # what the card's own helper raises


@pytest.mark.parametrize("name", ["picture.docx", "picture", "no folder/picture.png"])
def test_a_place_that_cannot_be_written_is_named(picture, tmp_path, name):
    with pytest.raises(InputError, match=r"make it first|end the name in \.png"):
        draw_entity_boxes_on_image(picture, ENTITIES, save_path=tmp_path / name)
