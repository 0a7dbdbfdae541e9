"""Packed or alone, a lesson reads the same and costs the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_kit import CAT, DOG, config, learnt, read, tokenizer
from kosmos2 import prompts
from kosmos2.data.encoding import NOWHERE, Tokens, encode
from kosmos2.data.lesson import Lesson, Linked, Said
from kosmos2.data.rows import IGNORED, PICTURE, Row, pack
from kosmos2.geometry import SIDE
from kosmos2.markup import GROUNDING, IMAGE, IMAGE_END
from kosmos2.model import Network
from kosmos2.prompts import PICTURE as MARK
from kosmos2.prompts import Markup, Words


def lesson(*said: Said, task: str = "test", weight: float = 1.0) -> Lesson:
    return Lesson(said, task, True, weight)


FIND = lesson(Said(prompts.ground("a dog").parts, False), Said((Linked("", (DOG,)),), True))
CAPTION = lesson(
    Said((Markup(GROUNDING),), True), Said((Linked(" a dog", (DOG, CAT)), Words(".")), True)
)
PLAIN = lesson(Said((Words(" a dog and two cats."),), True), task="caption", weight=0.5)
TALK = lesson(
    Said((MARK, *prompts.ask("What is it?").parts), False),
    Said((Words(" a dog"),), True),
    Said(prompts.ask("Where?").parts, False),
    Said((Words(" a field"),), True),
)
DOCUMENT = lesson(Said((Words(" a dog"), MARK, Words(" a cat"), MARK, Words(" a cup")), True))


def pixels(count: int) -> np.ndarray:
    side = config().vision.image_size
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def packed(*lessons: Lesson, pictures: int = 1, most: int = 200) -> Row:
    tokens = [encode(one, tokenizer(), latents=config().latents) for one in lessons]
    return pack(pixels(pictures), tokens, config(), tokenizer(), most)


def plainly(tokens: Tokens, pictures: int) -> dict[str, list]:
    """A lesson alone, spelled out: `<s>`, pictures, text; labels are the tokens moved by one."""
    latents, first = config().latents, tokenizer().first_slot
    block = [tokenizer().tag(IMAGE), *range(first, first + latents), tokenizer().tag(IMAGE_END)]
    before = [tokenizer().bos, *block * pictures]
    ids = before + tokens.ids
    learn = [False] * len(before) + tokens.learnt
    labels = [id if yes else IGNORED for id, yes in zip(ids[1:], learn[1:], strict=True)]
    labels.append(IGNORED)
    for end in tokens.ends:
        labels[len(before) + end] = tokenizer().eos
    slots = [False] + [False, *[True] * latents, False] * pictures + tokens.slots
    return {"ids": ids, "labels": labels, "slots": slots}


@pytest.mark.parametrize("one", [FIND, CAPTION, PLAIN], ids=["find", "grounded", "plain"])
def test_a_lesson_alone_is_pictures_and_text_spelled_out(one):
    row, plain = packed(one), plainly(encode(one, tokenizer()), 1)
    for name, values in plain.items():
        assert getattr(row, name).tolist() == values, name
    start = config().text.pad + 1
    assert row.positions.tolist() == [start + at for at in range(len(row.ids))]


@pytest.mark.parametrize(
    ("lessons", "pictures"),
    [
        ((FIND, FIND), 1),
        ((FIND, CAPTION, PLAIN), 1),  # two of them begin right after </image>
        ((PLAIN, CAPTION), 2),
        ((PLAIN, PLAIN), 0),
        ((TALK,), 1),
        ((DOCUMENT,), 2),
    ],
    ids=["asked", "captions", "two pictures", "text", "talk", "document"],
)
def test_each_lesson_of_a_row_scores_its_labels_as_it_does_alone(lessons, pictures):
    torch.manual_seed(0)
    network = Network(config())
    network.initialise()
    network.eval()
    row = packed(*lessons, pictures=pictures)
    ids, slots, positions, segments = (
        torch.from_numpy(part)[None] for part in (row.ids, row.slots, row.positions, row.segments)
    )
    # Who sees whom: what the row shares, and what came before in the same lesson.
    same = segments[:, :, None] == segments[:, None, :]
    visible = (same | (segments == PICTURE)[:, None, :]).tril()
    latents = torch.randn(pictures, config().latents, config().text.width) if pictures else None
    with torch.inference_mode():
        hidden = network.read(
            ids, latents=latents, slots=slots, positions=positions, visible=visible
        )[0]
        for segment, one in enumerate(lessons, start=1):
            tokens = encode(one, tokenizer(), latents=config().latents)
            own = plainly(tokens, 0 if any(tokens.slots) else pictures)
            ids, slots = torch.tensor([own["ids"]]), torch.tensor([own["slots"]])
            alone = network.read(ids, latents=latents, slots=slots)[0]
            labels = torch.tensor(own["labels"])
            mine = row.segments == segment
            assert row.labels[mine & (row.labels != IGNORED)].tolist() == [
                label for label in own["labels"] if label != IGNORED
            ]
            torch.testing.assert_close(
                hidden[torch.from_numpy(mine & (row.labels != IGNORED))],
                alone[labels != IGNORED],
                atol=2e-5,
                rtol=1e-4,
            )


def test_first_learnt_is_what_follows_the_picture_and_never_the_picture():
    row = packed(CAPTION)
    shown = row.ids == tokenizer().tag(IMAGE_END)
    assert row.labels[shown] == tokenizer().tag(GROUNDING)
    assert (row.labels[: int(np.flatnonzero(shown)[0])] == IGNORED).all()
    unread = replace(CAPTION, said=(replace(CAPTION.said[0], learn=False), CAPTION.said[1]))
    assert packed(unread).labels[shown] == IGNORED


def test_no_label_names_a_slot_a_start_or_a_picture_tag():
    for row in (packed(FIND, CAPTION), packed(TALK), packed(DOCUMENT, pictures=2)):
        slots = row.slots.copy()
        assert (row.labels[np.flatnonzero(slots)] == IGNORED).all()
        never = [tokenizer().bos, tokenizer().tag(IMAGE), tokenizer().tag(IMAGE_END)]
        assert not np.isin(row.labels, never).any()


def test_only_answers_count_and_each_counts_to_its_end():
    row = packed(TALK)
    assert learnt(row, 1) == "a dog a field"
    ends = np.flatnonzero(row.labels == tokenizer().eos)
    assert len(ends) == 2
    # The first end is foretold but does not stand there: the next question follows at once.
    following = [tokenizer().backend.id_to_token(int(row.ids[at + 1])) for at in ends]
    assert following == [GROUNDING, "</s>"]


def test_corners_and_weights_stand_at_the_token_that_foretells_them():
    row = packed(FIND, PLAIN)
    cells = np.isin(row.labels, list(tokenizer().cells))
    assert row.corners[cells].tolist() == [
        pytest.approx([DOG.x1 * SIDE, DOG.y1 * SIDE]),
        pytest.approx([DOG.x2 * SIDE, DOG.y2 * SIDE]),
    ]
    assert (row.corners[~cells] == NOWHERE).all()
    counted = row.labels != IGNORED
    assert set(row.weights[counted & (row.segments == 1)]) == {1.0}
    assert set(row.weights[counted & (row.segments == 2)]) == {0.5}
    assert not row.weights[~counted].any()
    assert row.kinds == ("test", "caption")


def test_places_that_are_only_read_have_no_corners_to_learn():
    row = packed(lesson(Said(prompts.describe(DOG).parts, False), Said((Words(" a dog"),), True)))
    asked = lesson(Said((Linked(" It", (DOG,)),), False), Said((Words(" a dog"),), True))
    assert (row.corners == NOWHERE).all()
    assert (packed(asked).corners == NOWHERE).all()


def test_a_lesson_without_room_is_left_out_and_a_shorter_one_still_comes_in():
    long = lesson(Said((Words(" a dog" * 40),), True), task="long")
    row = packed(FIND, long, PLAIN, most=30)
    assert row.kinds == ("test", "caption")
    assert read(row, 2).endswith("a dog and two cats.</s>")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([FIND, CAPTION, PLAIN]), min_size=1, max_size=5), st.integers(0, 2))
def test_columns_agree_whatever_is_packed(lessons, pictures):
    row = packed(*lessons, pictures=pictures)
    assert len(row.kinds) == row.segments.max()
    assert row.slots.sum() == pictures * config().latents
    assert (row.segments[row.slots] == PICTURE).all()
    for segment in range(1, row.segments.max() + 1):
        mine = np.flatnonzero(row.segments == segment)
        assert (np.diff(mine) == 1).all()
        assert (np.diff(row.positions[mine]) == 1).all()
        for at in mine[:-1]:
            assert row.labels[at] in (IGNORED, row.ids[at + 1])
        assert row.labels[mine[-1]] == IGNORED
