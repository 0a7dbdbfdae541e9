"""What a mistake costs: the network's own loss, weighed, forgiven, and told by kind."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kosmos2.data.rows import Row
from kosmos2.geometry import CELLS
from kosmos2.model import Network
from kosmos2.train import vocabulary
from kosmos2.train.again import compute_again
from kosmos2.train.batches import IGNORED, Batch, collate
from kosmos2.train.contrastive import ContrastiveHead
from kosmos2.train.dense import near
from kosmos2.train.learner import PLACES, WORDS, Learner, Report, counted
from kosmos2.train.recipe import Stage
from kosmos2.train.scene_rows import SceneRows
from processes import CONFIG, TinyRows

TELL = Stage(steps=10, rows=4, rate=1e-3)
SEE = dataclasses.replace(TELL, heads="dense", tell=False)
ROWS = TinyRows()


@pytest.fixture
def learner() -> Learner:
    return new()


def new(heads: tuple[str, ...] = ("dense",)) -> Learner:
    torch.manual_seed(0)
    network = Network(CONFIG)
    network.initialise(torch.Generator().manual_seed(0))
    return Learner(network, heads, shared_cells=False)


def batch_of(*positions: int) -> Batch:
    return collate([ROWS[position] for position in positions])


def cost(learner: Learner, batch: Batch, stage: Stage = TELL, spread: float = 0.0):
    return learner.loss(batch, stage, spread, counted(batch))


def test_plain_rows_cost_what_the_networks_own_loss_says(learner):
    """Two roads: labels at the token before, as here; labels at the token itself, as there."""
    batch = batch_of(0, 2, 4, 6)
    labels = torch.full_like(batch.labels, IGNORED)
    labels[:, 1:] = batch.labels[:, :-1]
    from kosmos2.train.learner import normalise

    pixels = normalise(batch.pixels, CONFIG.vision.image_size)
    keep = batch.segments >= 0
    there = learner.network.loss(batch.ids, labels, pixels=pixels, slots=batch.slots, keep=keep)
    loss, report = cost(learner, batch)
    torch.testing.assert_close(loss, there, rtol=1e-5, atol=1e-5)
    assert report.loss == pytest.approx(float(there.detach()), rel=1e-5)


def test_words_and_places_add_up_by_their_share(learner):
    batch = batch_of(0, 1, 2, 3)
    count = counted(batch)
    share = float(count[PLACES] / (count[PLACES] + count[WORDS]))
    assert 0 < share < 1
    _, report = cost(learner, batch)
    words, places = (1 - share) * report.words, share * report.places
    assert report.loss == pytest.approx(words + places, rel=1e-5)
    heavier = dataclasses.replace(TELL, place_weight=3.0)
    _, again = cost(learner, batch, heavier)
    assert again.loss == pytest.approx(words + 3 * places, rel=1e-5)


def test_kinds_are_means_over_their_own_tokens(learner):
    rows = [dataclasses.replace(ROWS[i], kinds=(("find", "caption")[i % 2],)) for i in range(4)]
    _, report = cost(learner, collate(rows))
    tokens = dict(report.counts)
    sums = dict(report.kinds)
    report.settle()
    alone = []
    for kind, row in zip(("find", "caption"), (rows[0::2], rows[1::2]), strict=True):
        _, one = cost(learner, collate(row))
        alone.append(one)
        assert sums[kind] == pytest.approx(one.kinds[kind], rel=1e-4)
        assert tokens[kind] == one.counts[kind]
        assert report.kinds[kind] == pytest.approx(sums[kind] / tokens[kind])
    together = Report()
    for one in alone:
        together += one
    assert together.settle().kinds == pytest.approx(report.kinds, rel=1e-4)


def test_a_row_of_no_weight_costs_nothing(learner):
    light = dataclasses.replace(ROWS[1], weights=np.zeros_like(ROWS[1].weights))
    with_it, _ = cost(learner, collate([ROWS[0], light]))
    without, _ = cost(learner, collate([ROWS[0]]))
    torch.testing.assert_close(with_it, without)
    double = [dataclasses.replace(ROWS[i], weights=2 * ROWS[i].weights) for i in range(3)]
    torch.testing.assert_close(
        cost(learner, collate(double))[0], cost(learner, batch_of(0, 1, 2))[0]
    )


def test_one_that_weighs_twice_counts_as_if_it_came_twice(learner):
    heavy = dataclasses.replace(ROWS[1], weights=2 * ROWS[1].weights)
    one, _ = cost(learner, collate([ROWS[0], heavy]))
    other, _ = cost(learner, batch_of(0, 1, 1))
    torch.testing.assert_close(one, other)


def test_a_narrow_bell_is_no_bell(learner):
    """Where corners lie in the middle of the cell that the label names."""
    row = ROWS[0]
    cells = row.labels - (CONFIG.text.vocabulary - CELLS)
    middles = np.stack([cells % 32 + 0.5, cells // 32 + 0.5], axis=1).astype(np.float32)
    corners = np.where(row.corners >= 0, middles, row.corners).astype(np.float32)
    batch = collate([dataclasses.replace(row, corners=corners)])
    _, narrow = cost(learner, batch, spread=0.05)
    _, none = cost(learner, batch)
    assert narrow.places == pytest.approx(none.places, rel=1e-4)


def test_the_seeing_heads_learn_from_scenes_among_rows_of_which_nobody_knows(learner):
    scenes = SceneRows(CONFIG, vocabulary.build(), seed=1)
    known, _ = cost(learner, collate([scenes[0]]), SEE, 1.0)
    mixed, report = cost(learner, collate([scenes[0], ROWS[0]]), SEE, 1.0)
    torch.testing.assert_close(known, mixed)
    assert report.patches_right is not None
    none, _ = cost(learner, batch_of(0, 2), SEE, 1.0)
    assert float(none.detach()) == 0.0


def test_computing_blocks_twice_changes_no_gradient():
    plain, again = new(), new()
    compute_again(again.network)
    batch = batch_of(0, 1, 2)
    for learner in (plain, again):
        cost(learner, batch)[0].backward()
    for name, one in plain.named_parameters():
        other = again.get_parameter(name).grad
        if one.grad is None:
            assert other is None, name
        else:
            assert torch.equal(one.grad, other), name


def test_pictures_and_texts_that_belong_together_cost_least():
    head = ContrastiveHead(5, 4, width=3)
    torch.nn.init.eye_(head.picture.weight)
    torch.nn.init.eye_(head.text.weight)
    seen = F.one_hot(torch.arange(3), 5).float()
    read = F.one_hot(torch.arange(3), 4).float()
    loss = head.loss(seen, read)
    assert float(loss.detach()) < 1e-4
    assert float(head.loss(seen, read.flip(0)).detach()) > 1
    swapped = head.loss(seen[[2, 0, 1]], read[[2, 0, 1]])
    torch.testing.assert_close(loss, swapped)


def test_texts_are_read_without_their_picture():
    learner = new(("contrastive",))
    stage = dataclasses.replace(TELL, heads="contrastive", tell=False)
    rows = [ROWS[0], ROWS[2], ROWS[4]]
    read: list[torch.Tensor] = []
    learner.contrastive_head.loss = lambda seen, text: (read.append(text), seen.sum() * 0)[1]
    cost(learner, collate(rows), stage)
    other = [dataclasses.replace(row, pixels=255 - row.pixels) for row in rows]
    cost(learner, collate(other), stage)
    assert torch.equal(read[0], read[1])
    # The same text alone, by the plain road.
    ids = torch.from_numpy(rows[1].ids)[None, 1 + CONFIG.latents :]
    positions = torch.from_numpy(rows[1].positions)[None, 1 + CONFIG.latents :]
    alone = learner.network.read(ids, positions=positions)
    torch.testing.assert_close(read[0][1], alone[0, -1])


def test_contrast_learns_to_tell_pairs_apart():
    learner = new(("contrastive",))
    stage = dataclasses.replace(TELL, heads="contrastive", tell=False)
    batch = batch_of(0, 2, 4, 6)
    optimiser = torch.optim.Adam(learner.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss, report = cost(learner, batch, stage)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(report.contrast)
    assert losses[-1] < 0.5 * losses[0]


def test_padding_and_order_of_rows_change_nothing():
    rows = [ROWS[0], ROWS[3], ROWS[2]]
    assert isinstance(rows[0], Row)
    learner = new()
    one, _ = cost(learner, collate(rows))
    other, _ = cost(learner, collate(rows[::-1]))
    torch.testing.assert_close(one, other)
    for row in rows:  # each alone, in shares of the whole
        whole = sum(counted(collate([one])) for one in rows)
        part, _ = learner.loss(collate([row]), TELL, 0.0, whole)
        other = other - part
    torch.testing.assert_close(other, torch.zeros(()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 0.3, 1.0])
def test_a_bell_of_any_width_is_a_probability(spread):
    places = torch.tensor([0.5, 7.2, 16.0, 31.9])
    bells = near(places, spread)
    torch.testing.assert_close(bells.sum(-1), torch.ones(4))
    assert bells[0].argmax() == 0
    assert bells[1].argmax() == 7
    if spread < 0.1:
        assert bells[0, 0] == bells[1, 7] == bells[3, 31] == 1
        torch.testing.assert_close(bells[2, 15:17], torch.tensor([0.5, 0.5]))
