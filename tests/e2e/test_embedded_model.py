"""The model in the package: small, whole, equal to the reference's reading of it, and able."""

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from kosmos2 import Kosmos2
from kosmos2.config import Config
from kosmos2.evaluate.scenes import evaluate
from kosmos2.images import open_picture
from kosmos2.markup import reference_extract
from kosmos2.model import Network
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose
from kosmos2.scenes.sentences import kinds
from kosmos2.scenes.world import SECOND
from kosmos2.train import vocabulary
from kosmos2.weights.fetch import DEMO_FOLDER

EXAMPLE = resources.files("kosmos2") / "assets/examples/snowman.jpg"
SCENE = compose(20, 198748, SECOND)  # what the example was drawn from


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    return Kosmos2.load()


@pytest.fixture(scope="module")
def example():
    with resources.as_file(EXAMPLE) as path:
        return open_picture(path)


def test_all_its_files_are_at_most_25_megabytes():
    assert sum(file.stat().st_size for file in DEMO_FOLDER.iterdir()) <= 25_000_000


def test_it_has_the_released_architecture_in_smaller_sizes(model):
    names = set(model.network.state_dict())
    with torch.device("meta"):
        released = set(Network(Config()).state_dict())
    assert names < released  # fewer layers, and no other difference


def test_its_words_are_those_of_its_scenes_and_of_the_page(model):
    built = vocabulary.build()
    words = [piece.lstrip("▁") for piece, _ in vocabulary.pieces() if piece.startswith("▁")]
    assert [model.tokenizer.encode(word) for word in words] == [built.encode(w) for w in words]
    questions = resources.files("kosmos2") / "serve/page/examples.js"
    asked = re.findall(
        r'"([^"]+)"', "".join(re.findall(r"(?:find|ask): (.*)", questions.read_text()))
    )
    assert len(asked) > 15
    for word in {word for each in asked for word in re.findall(r"[A-Za-z]+", each)}:
        assert len(model.tokenizer.encode(f" {word}")) == 1, word


def test_it_counts_the_snowmen_of_the_example(model, example):
    assert model.ask(example, "How many snowmen are there?").text.strip() == "one."


def test_it_tells_and_finds_what_is_in_the_example(model, example):
    answer = model.caption(example)
    assert "a snowman" in [entity.phrase for entity in answer.entities]
    assert answer.problems == ()
    told = model.caption(example, detailed=True)
    assert {entity.phrase for entity in told.entities} >= {"a snowman", "a fire"}
    for thing in SCENE.things:
        found = model.ground(example, f"the {thing.noun}").entities[0].boxes
        assert len(found) == 1, thing.noun
        assert found[0].iou(thing.box) > 0.5, thing.noun
        assert found[0].score > 0.1


def test_a_thing_that_is_not_there_is_tied_to_nothing(model, example):
    answer = model.ground(example, ["a guitar", "the elephant", "xylophone"])
    assert [entity.phrase for entity in answer.entities] == [
        "a guitar",
        "the elephant",
        "xylophone",
    ]
    assert sum(len(entity.boxes) for entity in answer.entities) <= 1


def test_it_is_far_better_than_chance_on_scenes_it_never_saw(model):
    """A floor well under the measured figures, so that only a broken model falls through it."""
    measured = evaluate(model, count=24, seed=31_337)
    assert measured["referring"]["plain"]["acc50"] > 0.5
    assert measured["naming"]["accuracy"] > 0.6
    assert measured["caption"]["f1"] > 0.5
    assert measured["questions"]["accuracy"] > 0.5
    assert measured["absent"]["auc"] > 0.7


def test_the_grammar_changes_nothing_that_was_well_formed(model):
    scenes = [compose(31_337, index) for index in range(10)]
    seen = model.see([draw_scene(scene, 224) for scene in scenes])
    broken = 0
    for verb in (
        lambda **how: model.caption(seen, detailed=True, **how),
        lambda **how: model.ground(seen, "the dog", **how),
        lambda **how: model.ask(seen, "How many dogs are there?", **how),
    ):
        for on, off in zip(verb(), verb(grammar=False), strict=True):
            if {problem.kind for problem in off.problems} <= {"phrase_without_box"}:
                assert on.markup == off.markup
                scores = [[b.score for e in a.entities for b in e.boxes] for a in (on, off)]
                assert scores[0] == pytest.approx(scores[1], rel=1e-4)
            else:
                broken += 1
    assert broken < 5


def test_it_locates_what_it_grounds_and_draws_the_edges_closer(model, example):
    for thing in SCENE.things:
        found = model.locate(example, f"the {thing.noun}")
        assert found.boxes[0].iou(thing.box) > 0.5, thing.noun
        assert found.presence > 0.5
        across, down = (thing.box.x1 + thing.box.x2) / 2, (thing.box.y1 + thing.box.y2) / 2
        assert found.heat[int(down * 32)][int(across * 32)] > 0.5, thing.noun
    there, absent = model.locate(example, ["a snowman", "a xylophone"])
    assert there.presence > absent.presence


def test_every_one_of_several_things_is_found_where_a_single_one_was_asked_for(model):
    scenes = [compose(991, index, SECOND) for index in range(80)]
    plain = every = 0
    for scene in scenes:
        several = [kind for kind in kinds(scene) if len(kind) > 1]
        if several:
            seen, phrase = model.see(draw_scene(scene, 224)), f"a {several[0][0].noun}"
            plain += len(model.ground(seen, phrase).entities[0].boxes)
            every += len(model.ground(seen, phrase, every=True).entities[0].boxes)
    assert every > 1.2 * plain > 0


def test_the_reference_library_reads_it_and_answers_the_same(model, example):
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle")
    network = transformers.Kosmos2ForConditionalGeneration.from_pretrained(
        DEMO_FOLDER, dtype=torch.float32
    ).eval()
    processor = transformers.Kosmos2Processor.from_pretrained(DEMO_FOLDER)
    for prompt in ("<grounding> An image of", "<grounding><phrase> the fire</phrase>"):
        inputs = processor(text=prompt, images=example.image, return_tensors="pt")
        ids = network.generate(**inputs, max_new_tokens=40, do_sample=False)
        text = processor.batch_decode(ids, skip_special_tokens=True)[0]
        answer = model.complete(example, prompt, max_new_tokens=40)
        assert reference_extract(answer.markup) == processor.post_process_generation(text)


def test_the_same_picture_from_a_file_or_an_array_gets_the_same_answer(model, example):
    assert model.caption(np.asarray(example.image)) == model.caption(example)


def test_the_package_holds_no_font_and_no_foreign_weights():
    held = {path.suffix for path in Path(str(EXAMPLE.parent.parent)).rglob("*") if path.is_file()}
    assert held <= {".png", ".jpg", ".json", ".safetensors", ".md", ".toml", ""}
