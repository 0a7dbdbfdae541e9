"""Scenes as rows: what a lesson says is what generation would read, and what the places hold."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from kosmos2.config import Config
from kosmos2.data.encoding import encode
from kosmos2.data.rows import IGNORED
from kosmos2.errors import InputError, RecipeError
from kosmos2.geometry import CELLS, SIDE, Box
from kosmos2.images import Picture
from kosmos2.model import Network
from kosmos2.processor import Processor
from kosmos2.scenes.colours import COLOURS
from kosmos2.scenes.layout import compose
from kosmos2.scenes.stickers import NOUNS, plural
from kosmos2.scenes.teaching import lesson_of
from kosmos2.scenes.world import FIRST, HELD_BACK, NEW, SECOND
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import batches, cells, dense, vocabulary
from kosmos2.train.learner import Learner
from kosmos2.train.lessons import MOST_TOKENS, lessons
from kosmos2.train.scene_rows import SceneRows, world_of_scenes


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.build()


@pytest.fixture(scope="module")
def config(tokenizer) -> Config:
    config = Config.tiny(vocabulary=tokenizer.size)
    text = dataclasses.replace(config.text, positions=400, dropout=0.0, attention_dropout=0.0)
    return dataclasses.replace(config, text=text)


def every(world, count):
    for index in range(count):
        yield from lessons(compose(4, index, world), np.random.default_rng(index))


@pytest.mark.parametrize("world", [FIRST, SECOND], ids=lambda world: world.name)
def test_every_word_of_the_scenes_is_one_piece_but_for_what_has_to_be_spelled(tokenizer, world):
    spelled = 0
    for example in every(world, 60):
        if any(word[:1].isupper() for word in example.asked.split() if example.task == "find"):
            spelled += 1
            continue
        pieces = [tokenizer.decode([i]) for i in encode(lesson_of(example), tokenizer).ids]
        letters = {piece for piece in pieces if len(piece) == 1 and piece != "a"}
        if not letters <= set(".,:?"):
            assert example.task == "absent"  # a word that nobody knows
            assert not set(example.asked.split()) & set(NOUNS)
    assert 0 < spelled < 60


def test_what_is_held_back_has_pieces_and_no_lesson(tokenizer):
    told = {
        word for example in every(SECOND, 150) for word in (example.asked + example.text).split()
    }
    for noun in HELD_BACK:
        assert not {noun, plural(noun)} & {word.strip(".,?") for word in told}
        assert len(tokenizer.encode(f"the {noun}", markup=False)) == 2
        assert len(tokenizer.encode(f"the {plural(noun)}", markup=False)) == 2


def test_a_prompt_in_a_lesson_is_the_prompt_of_generation(config, tokenizer):
    """The processor makes the ids of a user's prompt; training must have seen the same."""
    processor = Processor(tokenizer, config)
    picture = Picture(Image.new("RGB", (40, 40)))
    for example in every(SECOND, 20):
        tokens = encode(lesson_of(example), tokenizer)
        inputs = processor([example.prompt], [[picture]], look=False)
        asked = tokens.learnt.index(True)
        assert inputs.ids[0, config.latents + 3 :].tolist() == tokens.ids[:asked]


def test_most_rows_are_nearly_full(config, tokenizer):
    rows = SceneRows(config, tokenizer, seed=3)
    lengths = [len(rows[i].ids) - config.latents - 3 for i in range(60)]
    assert max(lengths) <= MOST_TOKENS
    assert np.mean(lengths) > 0.85 * MOST_TOKENS


def test_every_task_is_taught_often(config, tokenizer):
    rows = SceneRows(config, tokenizer, seed=3)
    kinds = Counter(kind for i in range(100) for kind in rows[i].kinds)
    assert set(kinds) == {
        "brief", "detailed", "find", "refer", "attribute", "absent", "describe", "ask", "ask_about",
    }  # fmt: skip
    assert min(kinds.values()) >= 8
    assert 0.2 < kinds["absent"] / (kinds["find"] + kinds["refer"] + kinds["attribute"]) < 0.5


def test_a_row_is_a_function_of_its_number(config, tokenizer):
    one, again = (SceneRows(config, tokenizer, seed=3)[7] for _ in range(2))
    other = SceneRows(config, tokenizer, seed=4)[7]
    for name in ("pixels", "ids", "corners", "patch_names", "latent_edges"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.pixels, other.pixels)
    assert one.name == "scene 3:7"


def test_scenes_that_are_counted_come_again_with_other_lessons(config, tokenizer):
    rows = SceneRows(config, tokenizer, seed=3, world=NEW, count=5)
    assert [rows[i].name for i in (0, 5, 12)] == ["scene 3:0", "scene 3:0", "scene 3:2"]
    assert np.array_equal(rows[1].patch_names, rows[6].patch_names)
    assert not np.array_equal(rows[1].ids, rows[6].ids)


def test_where_only_seeing_is_taught_nothing_is_said(config, tokenizer):
    rows = SceneRows(config, None, seed=3)
    batch = batches.collate([rows[0], rows[1]])
    assert batch.ids is None
    assert batch.labels is None
    assert batch.patch_names.shape == (2, config.vision.side**2)
    spoken = batches.collate([SceneRows(config, tokenizer, seed=3)[0]])
    assert torch.equal(spoken.pixels[0], batch.pixels[0])
    assert (spoken.labels != IGNORED).any()


def test_a_world_with_other_nouns_is_made_by_name():
    world = world_of_scenes("second", ["fox", "dog"])
    assert {t.noun for i in range(40) for t in compose(1, i, world).things} == {"fox", "dog"}
    assert world_of_scenes("first") == FIRST
    with pytest.raises(RecipeError, match="unicorn"):
        world_of_scenes("second", ["unicorn"])
    with pytest.raises(InputError, match="third"):
        world_of_scenes("third")


def test_shared_rows_and_columns_become_the_embedding_that_trained(config):
    network = Network(config)
    network.initialise()
    learner = Learner(network)
    words = learner.network.decoder.words
    shared = words.weight.detach().clone()
    cell = shared[-CELLS:].unflatten(0, (SIDE, SIDE))
    # Every location is its row plus its column: opposite corners of any rectangle add up alike.
    torch.testing.assert_close(cell[3, 5] + cell[9, 20], cell[3, 20] + cell[9, 5])
    plain = Network(config)
    plain.load_state_dict(cells.merged(network, "decoder.words"))
    assert torch.equal(plain.decoder.words.weight, shared)


def test_the_truth_of_a_place_is_what_lies_on_it():
    for index in range(40):
        scene = compose(6, index, SECOND)
        side = 10
        codes, edges = dense.truth(scene, side)
        middles = []
        for place, code in enumerate(codes):
            x, y = (place % side) / side, (place // side) / side
            patch = Box(x, y, x + 1 / side, y + 1 / side)
            if code == dense.NOTHING:
                continue
            box = Box(*(edges[place] / SIDE).tolist())
            thing = min(scene.things, key=lambda t: sum(
                abs(a - b) for a, b in zip(t.box.corners, box.corners)))  # fmt: skip
            assert dense.NOUNS[code % dense.BASE] == thing.noun
            more = code // dense.BASE
            assert (None, *COLOURS)[more // 2] == thing.colour
            assert patch.iou(thing.box) > 0
            if more % 2:
                middles.append(thing)
                assert abs(x + 0.05 - (thing.box.x1 + thing.box.x2) / 2) <= 0.05 + 1e-9
                assert abs(y + 0.05 - (thing.box.y1 + thing.box.y2) / 2) <= 0.05 + 1e-9
        assert len(set(middles)) == len(middles) <= len(scene.things)


def test_most_things_have_their_middle_on_a_place_and_so_can_be_counted():
    scenes = [compose(6, index, SECOND) for index in range(200)]
    things = sum(len(scene.things) for scene in scenes)
    middles = 0
    for scene in scenes:
        codes, _ = dense.truth(scene, 8)
        middles += int((codes // dense.BASE % 2).sum())
    assert 0.93 * things < middles <= things


def test_a_head_that_reads_the_truth_costs_nothing_and_another_does():
    codes, edges = (torch.from_numpy(one)[None] for one in dense.truth(compose(6, 3, SECOND), 8))
    head = dense.DenseHead(4)
    there = (codes % dense.BASE != dense.NOTHING).sum().float()
    count = torch.tensor(float(codes.numel()))
    plain = head.loss(torch.randn(1, 64, 4), codes, edges, 0.5, count, there)
    known = codes.flatten() % dense.BASE
    more = codes.flatten() // dense.BASE

    class Knowing(dense.DenseHead):
        """Scores as whoever knows the truth would give them."""

        def __init__(self):
            torch.nn.Module.__init__(self)
            self.name = lambda seen: _sure(known, dense.NAMES)[None]
            self.edges = lambda seen: _bells(edges[0][known != dense.NOTHING])
            mine = more[known != dense.NOTHING]
            self.middle = lambda seen: (40.0 * (mine % 2) - 20)[:, None]
            self.colour = lambda seen: _sure((mine // 2 - 1).clamp(min=0), len(COLOURS))

    naming, placing, right = Knowing().loss(torch.zeros(1, 64, 4), codes, edges, 0.5, count, there)
    assert naming < 1e-3 < plain[0]
    assert placing < 0.5 * plain[1]
    assert right == 1


def _sure(index, count):
    return 20.0 * torch.nn.functional.one_hot(index, count).float()


def _bells(edges):
    return dense.near(edges, 0.5).clamp(min=1e-9).log().flatten(1)


def test_the_bell_peaks_at_the_cell_that_text_would_name():
    for place in (0.1, 3.49, 3.51, 17.0001, 31.9):
        bell = dense.near(torch.tensor([place]), 0.3)[0]
        assert int(bell.argmax()) == int(place)
        assert bell.sum() == pytest.approx(1.0)
