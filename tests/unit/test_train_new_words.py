"""Classes that a vocabulary could only spell are words, and nothing that was known has changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import exports
from kosmos2.config import Config
from kosmos2.data.sample import Picture, Sample, Span, Turn
from kosmos2.geometry import CELLS, SIDE, Box
from kosmos2.model import Network
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import vocabulary
from kosmos2.train.begin import begin
from kosmos2.train.dense import BASE, NAMES, NOTHING, NOUNS, Marks, extra
from kosmos2.train.feed import rows_of
from kosmos2.train.new_words import spelled, with_words
from kosmos2.train.recipe import Data, Model, Recipe, Stage
from processes import CONFIG

OLD = vocabulary.build()
WORDS = ["gauge", "gauges", "valve", "valves"]


@pytest.fixture(scope="module")
def widened() -> tuple[Network, Network, Tokenizer]:
    torch.manual_seed(0)
    network = Network(CONFIG).eval()
    network.initialise()
    return network, *with_words(network, OLD, WORDS, seed=1)


def test_only_what_would_be_spelled_is_a_new_word():
    assert spelled(OLD, ["gauge", "dog", "red_valve", "gauge"]) == WORDS
    assert spelled(OLD, ["dog", "two cats"]) == []


def test_the_layout_is_the_old_one_with_room_for_the_new(widened):
    _, network, new = widened
    assert new.size == OLD.size + 4 == network.config.text.vocabulary
    assert new.cells == range(new.size - CELLS, new.size)
    text = " a dog<phrase> the valve</phrase><object><patch_index_0007></object> spelt"
    assert new.decode(new.encode(text)) == OLD.decode(OLD.encode(text))
    assert len(new.encode(" the gauges")) == 2
    assert len(OLD.encode(" the gauges")) > 6


def test_it_is_read_back_as_it_was_saved(widened, tmp_path):
    _, _, new = widened
    new.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode(" gauge valve") == new.encode(" gauge valve")


def test_what_was_known_means_what_it_meant(widened):
    old, new, tokenizer = widened
    text = "<grounding><phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>"
    with torch.inference_mode():
        before = old(torch.tensor([[0, *OLD.encode(text)]]))
        after = new.eval()(torch.tensor([[0, *tokenizer.encode(text)]]))
    first = tokenizer.encode(" gauge")[0]
    kept = torch.cat([after[..., :first], after[..., first + 4 :]], dim=-1)
    torch.testing.assert_close(kept, before)
    rows = new.decoder.words.weight[first : first + 4]
    assert len(torch.unique(rows, dim=0)) == 4
    assert 0.2 < rows.norm() / old.decoder.words.weight[5:9].norm() < 2


def test_boxes_of_an_export_are_the_truth_of_its_places():
    config = dataclasses.replace(Config.tiny(), latents=4)
    marks = Marks(config, extra(["gauge", "dog", "gauge"]))
    box = Box(0.5, 0.0, 1.0, 0.5)
    turn = Turn("gauge", (Span(0, 5, (box,)),))
    told = marks(Sample("x", "objects", (turn,), (Picture(np.zeros((4, 4, 3), np.uint8)),)))
    assert told["latent_names"].tolist() == [NOTHING, NAMES + BASE, NOTHING, NOTHING]
    assert told["latent_edges"][1].tolist() == [SIDE * edge for edge in box.corners]
    assert extra(["gauge", "dog", "gauge"]) == ("gauge",)
    assert "dog" in NOUNS


def test_a_run_on_an_export_knows_its_classes_and_marks_its_rows(tmp_path):
    data = Data.from_table({"path": str(exports.coco(tmp_path))}, "data")
    model = Model(start="scratch", config=CONFIG, new_words=True)
    recipe = Recipe(
        model=model, data=(data,), stage=(Stage(steps=1, rows=1, rate=1e-3, heads="dense"),)
    )
    begun = begin(recipe)
    assert set(begun.classes) == set(exports.CLASSES)
    assert len(begun.tokenizer.encode(" birds")) == 1
    assert begun.network.config.text.vocabulary == begun.tokenizer.size
    rows = rows_of(recipe, recipe.stage[0], begun)
    names = {int(name) % BASE for i in range(3) for name in rows[i].patch_names}
    assert NOTHING in names
    assert len(names) > 1
