"""Where a phrase may be: boxes and heat are what all pairs of corners say together."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from kosmos2 import Kosmos2, Located
from kosmos2.engine.corners import Corners
from kosmos2.errors import InputError, PromptError
from kosmos2.geometry import CELLS, SIDE, box_of
from kosmos2.grounder.locating import heat, located, refined

PHRASES = ["a dog", "the fire next to it", "snow"]


@pytest.fixture(scope="module")
def picture():
    return Image.effect_noise((70, 50), 60).convert("RGB")


def corners_at(random: int, tries: int = 5) -> Corners:
    dice = torch.Generator().manual_seed(random)
    first = torch.randn(CELLS, generator=dice).mul(3).softmax(0)
    tried = first.topk(tries).indices
    scores = torch.randn(tries, CELLS, generator=dice) * 3
    cells = torch.arange(CELLS)
    scores[cells // SIDE < (tried // SIDE)[:, None]] = -math.inf
    scores[cells % SIDE < (tried % SIDE)[:, None]] = -math.inf
    return Corners(0.5, first, tried, scores.softmax(-1))


@pytest.mark.parametrize("seed", range(3))
def test_a_cell_is_as_warm_as_the_boxes_that_cover_it_are_likely(seed):
    corners = corners_at(seed)
    plain = torch.zeros(SIDE, SIDE)
    for first, chances in zip(corners.tried.tolist(), corners.joint, strict=True):
        for last in range(CELLS):
            top, left = divmod(first, SIDE)
            bottom, right = divmod(last, SIDE)
            plain[top : bottom + 1, left : right + 1] += chances[last]
    torch.testing.assert_close(heat(corners), plain / corners.joint.sum())


def test_boxes_come_likeliest_first_and_none_twice():
    corners = corners_at(1)
    found = located(" a dog", corners, best=6, refine=False, overlap=0.3)
    pairs = [(r, c) for r in range(len(corners.tried)) for c in range(CELLS)]
    likeliest = max(pairs, key=lambda pair: corners.joint[pair])
    first = box_of(int(corners.tried[likeliest[0]]), likeliest[1])
    assert found.phrase == "a dog"
    assert found.boxes[0].corners == first.corners
    assert found.boxes[0].score == pytest.approx(math.sqrt(corners.joint[likeliest]))
    scores = [box.score for box in found.boxes]
    assert scores == sorted(scores, reverse=True)
    assert len(found.boxes) == 6
    for at, box in enumerate(found.boxes):
        assert all(box.iou(other) <= 0.3 for other in found.boxes[:at])
    assert len(located("a dog", corners, best=6, refine=False, overlap=1.0).boxes) == 6


def test_boxes_that_become_one_when_their_edges_move_are_told_once():
    """A small thing whose lower right corner may lie in either of two cells."""
    first, opposite = torch.zeros(CELLS), torch.zeros(1, CELLS)
    first[4 * SIDE + 4] = 1.0
    opposite[0, 5 * SIDE + 5], opposite[0, 5 * SIDE + 6] = 0.51, 0.49
    corners = Corners(1.0, first, torch.tensor([4 * SIDE + 4]), opposite)
    in_cells = located("a dog", corners, best=5, refine=False, overlap=0.7)
    assert len(in_cells.boxes) == 2
    moved = located("a dog", corners, best=5, refine=True, overlap=0.7)
    assert len(moved.boxes) == 1
    assert moved.boxes[0].score == in_cells.boxes[0].score


@pytest.mark.parametrize("seed", range(3))
def test_no_two_boxes_overlap_more_than_asked_wherever_their_edges_moved(seed):
    for overlap in (0.0, 0.3, 0.6):
        found = located("a dog", corners_at(seed), best=8, refine=True, overlap=overlap)
        for at, box in enumerate(found.boxes):
            assert all(box.iou(other) <= overlap for other in found.boxes[:at])


def test_an_edge_moves_to_where_the_neighbours_pull_it():
    first, opposite = torch.zeros(CELLS), torch.zeros(1, CELLS)
    first[4 * SIDE + 4], first[4 * SIDE + 5] = 0.75, 0.25
    opposite[0, 20 * SIDE + 20], opposite[0, 19 * SIDE + 20] = 0.5, 0.5
    corners = Corners(1.0, first, torch.tensor([4 * SIDE + 4]), opposite)
    cell = box_of(4 * SIDE + 4, 20 * SIDE + 20, 0.5)
    moved = refined(cell, corners, 0, 20 * SIDE + 20)
    assert [(new - old) * SIDE for new, old in zip(moved.corners, cell.corners)] == pytest.approx(
        [0.25, 0, 0, -0.5]
    )
    assert moved.score == cell.score


def test_certain_corners_stay_where_they_are():
    first, opposite = torch.zeros(CELLS), torch.zeros(1, CELLS)
    first[0] = opposite[0, CELLS - 1] = 1.0
    corners = Corners(1.0, first, torch.tensor([0]), opposite)
    cell = box_of(0, CELLS - 1)
    assert refined(cell, corners, 0, CELLS - 1) == cell


def test_phrases_together_are_located_as_alone(tiny_model: Kosmos2, picture):
    together = tiny_model.locate(picture, PHRASES, refine=False)
    for phrase, found in zip(PHRASES, together, strict=True):
        alone = tiny_model.locate(picture, phrase, refine=False)
        assert found.phrase == alone.phrase == phrase
        assert [box.corners for box in found.boxes] == [box.corners for box in alone.boxes]
        assert found.presence == pytest.approx(alone.presence, rel=1e-4)
        assert torch.tensor(found.heat).sub(torch.tensor(alone.heat)).abs().max() < 1e-4


def test_the_best_place_is_where_grounding_points(tiny_model: Kosmos2, picture):
    """With one first corner tried, both take the likeliest, then the likeliest after it."""
    ask = "<grounding><phrase> a dog</phrase><object>"
    answer = tiny_model.complete(picture, ask, grammar=True, max_new_tokens=3, max_boxes=1)
    (box,) = answer.entities[0].boxes
    asks = [_ask(tiny_model, picture)]
    (corners,) = tiny_model.runner.corners(asks, tries=1)
    found = located("a dog", corners, best=1, refine=False, overlap=0.5)
    assert found.boxes[0].corners == box.corners


def _ask(model, picture):
    from kosmos2.grounder import tasks

    (ask,) = tasks.ground(model.see(picture), ["a dog"])
    return ask


def test_what_was_located_is_plain_values(tiny_model: Kosmos2, picture):
    found = tiny_model.locate(picture, "a dog", best=2)
    assert isinstance(found, Located)
    values = found.to_dict("px", 70, 50)
    assert values["boxes"][0]["box"][2] == pytest.approx(found.boxes[0].x2 * 70)
    assert len(values["heat"]) == len(values["heat"][0]) == SIDE
    assert 0 <= values["presence"] <= 1
    assert 0 <= min(map(min, found.heat)) <= max(map(max, found.heat)) <= 1 + 1e-5


@pytest.mark.parametrize(
    ("phrase", "how", "error", "says"),
    [
        ("", {}, PromptError, "phrase is empty"),
        ([], {}, PromptError, "at least one"),
        ("a dog", {"best": 0}, InputError, "best is 0"),
        ("a dog", {"overlap": 2}, InputError, "overlap is 2"),
    ],
)
def test_what_cannot_be_located_is_said(tiny_model, picture, phrase, how, error, says):
    with pytest.raises(error, match=says):
        tiny_model.locate(picture, phrase, **how)
    with pytest.raises(PromptError, match="one picture at a time"):
        tiny_model.locate([picture], "a dog")
