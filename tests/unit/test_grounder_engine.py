"""The verbs through the engine: what is shared, what is well-formed, and what goes wrong."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading

import numpy as np
import pytest
import torch

from kosmos2 import Entity, Kosmos2, Text
from kosmos2.config import Config
from kosmos2.engine.steps import Steps
from kosmos2.errors import Busy, ConfigError, EngineError
from kosmos2.grounder import tasks
from kosmos2.grounder.looks import Looks
from kosmos2.grounder.reading import Ask
from kosmos2.markup import parse
from kosmos2.options import Options
from kosmos2.prompts import PICTURE, Markup, Prompt
from kosmos2.train import vocabulary
from networks import loud_network

SHORT = {"max_new_tokens": 24}


BOTH = Prompt((PICTURE, Markup("<grounding> and"), PICTURE, Markup("Question: Which? Answer:")))


@pytest.fixture
def model() -> Kosmos2:
    tokenizer = vocabulary.build()
    config = Config.tiny(vocabulary=tokenizer.size)
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, positions=300))
    return Kosmos2(loud_network(config, 3), tokenizer, name="random", batch=3)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def looks_at(model, monkeypatch) -> list[int]:
    looks: list[int] = []
    plain = model.network.look
    monkeypatch.setattr(
        model.network, "look", lambda pixels: looks.append(len(pixels)) or plain(pixels)
    )
    return looks


def test_a_picture_is_looked_at_once_however_it_comes_and_whatever_is_asked(model, monkeypatch):
    looks = looks_at(model, monkeypatch)
    first = model.caption(picture(), **SHORT)
    model.ask(picture(), "What is this?", **SHORT)
    model.ground([picture(), picture(1)], "a dog", **SHORT)
    assert looks == [1, 1]
    assert model.caption(picture(), **SHORT) == first


def test_phrases_of_one_picture_read_its_beginning_once(model):
    phrases = [f"thing {i}" for i in range(7)]
    model.ground(picture(), phrases, max_new_tokens=2)
    asks = tasks.ground(model.see(picture()), phrases)
    lengths = [int(model.runner.rules.inputs(ask).keep.sum()) for ask in asks]
    beginning = model.config.latents + 3  # <s>, <image>, </image>
    figures = model.runner.engine.statistics()
    # The first of the two tokens of an answer is read too.
    assert figures.read == beginning + sum(length - beginning + 1 for length in lengths)
    assert figures.prefix_hits == 6
    assert figures.running == figures.waiting == 0


def test_several_pictures_stand_where_the_prompt_marks_them(model):
    one, other = model.see([picture(), picture(1)])
    ask = Ask(prompt=BOTH, seen=(one, other), with_prompt=False, grammar=True)
    turned = dataclasses.replace(ask, seen=(other, one))
    options = Options(**SHORT)
    first, again, second = model.answer([ask, ask, turned], options)
    figures = model.runner.engine.statistics()
    assert first == again
    assert first.markup != second.markup
    assert first.picture is other.picture  # the last one is what the answer's boxes are in
    assert figures.prefix_hits == 1  # the same two in another order are another beginning
    inputs = model.runner.rules.inputs(ask)
    beams = model.answer([ask, turned], dataclasses.replace(options, beams=2))
    alone = model.answer([turned], dataclasses.replace(options, beams=2))
    assert beams[1].markup == alone[0].markup
    slots = inputs.slots[0].nonzero().flatten().tolist()
    assert len(slots) == 2 * model.config.latents
    assert slots[model.config.latents] - slots[model.config.latents - 1] > 2  # words between


def test_a_picture_without_its_mark_is_refused(model):
    one = model.see(picture())
    with pytest.raises(ValueError, match="1 pictures for a prompt with 2 places"):
        model.answer([Ask(prompt=BOTH, seen=(one,), with_prompt=False, grammar=True)], Options())


def test_with_other_weights_nothing_old_is_believed(model):
    before = model.caption(picture(), **SHORT)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(-1.5)
    fresh = Kosmos2(model.network, model.tokenizer, name="random")
    assert model.caption(picture(), **SHORT) == fresh.caption(picture(), **SHORT) != before


def test_what_is_kept_of_pictures_stays_within_its_bytes():
    looks = Looks(most_bytes=100)
    for name in "abc":
        looks.put(name, torch.full((10,), 1.0))
    assert looks.get("a") is None
    assert looks.get("b") is not None
    looks.put("d", torch.full((10,), 1.0))  # "c" was asked for longest ago
    assert [looks.get(name) is not None for name in "bcd"] == [True, False, True]
    looks.put("large", torch.zeros(26))
    looks.put("broken", torch.full((2,), math.nan))
    looks.put("d", torch.zeros(1))
    assert [looks.get(name) is None for name in ("large", "broken")] == [True, True]
    assert looks.bytes == 44


@pytest.mark.parametrize("how", [{}, {"temperature": 3.0, "seed": 2}, {"beams": 2}])
def test_a_task_is_answered_with_markup_that_can_be_read(model, how):
    wild = 0
    for seed in range(4):
        for grammar in (None, False):
            answers = [
                model.caption(picture(seed), grammar=grammar, **SHORT, **how),
                model.ask(picture(seed), "Where?", grammar=grammar, **SHORT, **how),
                model.describe(picture(seed), (0, 0, 0.5, 0.5), grammar=grammar, **SHORT, **how),
            ]
            kinds = {problem.kind for answer in answers for problem in answer.problems}
            if grammar is None:
                assert kinds <= {"phrase_without_box"}
            else:
                wild += bool(kinds - {"phrase_without_box"})
    assert wild, "the model writes nothing wrong even where it may"


def test_raw_prompts_are_left_alone(model):
    opened = "<grounding><phrase> a dog</phrase><object><patch_index_0900>"
    free = model.complete(picture(), opened, **SHORT)
    held = model.complete(picture(), opened, grammar=True, **SHORT)
    assert free == model.complete(picture(), opened, grammar=False, **SHORT)
    assert free != held
    assert len(parse(held.markup).entities[0].boxes) >= 1


def test_boxes_are_as_many_as_allowed_and_what_is_known_is_not_awaited(model):
    opened = "<grounding><phrase> a dog</phrase><object>"
    two = model.complete(picture(), opened, max_boxes=2, every=True, **SHORT)
    one = model.complete(picture(), opened, max_boxes=1, **SHORT)
    assert one.markup.count("<patch_index") - one.markup.count("<phrase>") >= 1
    assert max(len(entity.boxes) for entity in one.entities) == 1
    assert two.markup.split("</object>")[0].count("delimiter") == 1
    assert one.forced >= 1  # the end of the object
    assert one.to_dict()["forced"] == one.forced
    assert type(one).from_dict(one.to_dict()).forced == one.forced


def test_uncertain_boxes_stay_in_the_markup_only(model):
    opened = "<grounding><phrase> a dog</phrase><object>"
    every = model.complete(picture(7), opened, grammar=True, **SHORT)
    scores = sorted(box.score for entity in every.entities for box in entity.boxes)
    assert len(scores) > 1
    least = (scores[0] + scores[1]) / 2  # no score lies on it: they may differ in the last digit
    sure = model.complete(picture(7), opened, grammar=True, min_score=least, **SHORT)
    kept = [box for entity in sure.entities for box in entity.boxes]
    assert sure.markup == every.markup
    assert sorted(box.score for box in kept) == pytest.approx(scores[1:])
    assert all(entity.boxes for entity in sure.entities)
    found = model.ground(picture(7), "a dog", min_score=1.0, **SHORT)
    assert [(entity.phrase, entity.boxes) for entity in found.entities] == [("a dog", ())]
    given = model.complete(picture(), f"{opened}<patch_index_0000><patch_index_0900></object>",
                           min_score=1.0, max_new_tokens=1)  # fmt: skip
    assert len(given.entities[0].boxes) == 1  # the asker's own


def test_a_phrase_is_found_from_a_presence_on(model):
    asked = ["a dog", "a bird", "the red cup"]
    for phrase, presence in zip(asked, (f.presence for f in model.locate(picture(7), asked))):
        below, above = presence * 0.99, min(presence * 1.01, 1.0)
        assert model.ground(picture(7), phrase, min_presence=below, **SHORT).entities[0].boxes
        assert not model.ground(picture(7), phrase, min_presence=above, **SHORT).entities[0].boxes
        # It is about phrases that were asked for, not about those that an answer names.
        opened = f"<grounding><phrase> {phrase}</phrase>"
        assert model.complete(picture(7), opened, min_presence=0.0, **SHORT) == model.complete(
            picture(7), opened, **SHORT
        )


def test_a_model_has_a_presence_of_its_own(model, tmp_path):
    least = model.locate(picture(7), "a dog").presence
    for share, found in ((0.99, True), (1.01, False)):
        own = Kosmos2(model.network, model.tokenizer, min_presence=least * share)
        assert bool(own.ground(picture(7), "a dog", **SHORT).entities[0].boxes) is found
        assert own.ground(picture(7), "a dog", min_presence=0.0, **SHORT).entities[0].boxes
        own.save(tmp_path)
        again = Kosmos2.load(tmp_path)
        assert again.min_presence == own.min_presence
        assert bool(again.ground(picture(7), "a dog", **SHORT).entities[0].boxes) is found
    assert model.min_presence is None
    model.save(tmp_path / "none")
    assert "min_presence" not in (tmp_path / "none" / "generation_config.json").read_text()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"grammar": "on"}, "grammar is 'on'"),
        ({"min_presence": 2}, "min_presence is 2"),
        ({"grammar": False, "min_presence": 0.5}, "leave out grammar"),
        ({"max_boxes": 0}, "max_boxes is 0"),
        ({"min_score": 1.5}, "min_score is 1.5"),
        ({"every": 1.0}, "every is 1.0"),
        ({"grammar": False, "every": True}, "leave out grammar"),
    ],
)
def test_settings_that_cannot_be_are_named(model, settings, says):
    with pytest.raises(ConfigError, match=says):
        model.caption(picture(), **settings)


def test_a_closed_stream_gives_its_place_to_the_next(model):
    for _ in range(5):
        events = model.stream.caption(picture(), **SHORT)
        assert any(isinstance(event, Text | Entity) for event in [next(events), next(events)])
        events.close()
    model.caption(picture(), **SHORT)
    figures = model.runner.engine.statistics()
    assert figures.running == figures.waiting == 0
    assert figures.answered + figures.cancelled == 6
    assert figures.cancelled >= 1


def test_streams_side_by_side_are_the_answers_alone(model):
    whole = [model.caption(picture(seed), **SHORT) for seed in range(5)]
    streams = [model.stream.caption(picture(seed), **SHORT) for seed in range(5)]
    last: list[object] = [None] * 5
    for _ in range(200):
        for at, stream in enumerate(streams):
            last[at] = next(stream, last[at])
    assert last == whole


def test_threads_share_one_model(model):
    expected = [model.caption(picture(seed), **SHORT) for seed in range(6)]
    answers: dict[int, object] = {}

    def ask(seed):
        answers[seed] = model.caption(picture(seed), **SHORT)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answers[seed] for seed in range(6)] == expected
    assert not [thread for thread in threading.enumerate() if thread.name == "kosmos2"]


def test_an_interrupt_ends_the_question_and_the_next_is_answered(model, monkeypatch):
    expected = model.caption(picture(), **SHORT)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for place in ("_call", "_arrange"):
        with monkeypatch.context() as patch:
            patch.setattr(Steps, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                model.caption(picture(), **SHORT)
        assert model.caption(picture(), **SHORT) == expected


def test_what_breaks_the_network_reaches_the_caller_as_it_was(model, monkeypatch, caplog):
    expected = model.caption(picture(), **SHORT)

    def full(*_, **__):
        raise MemoryError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(model.network.decoder, "forward", full)
        with pytest.raises(MemoryError, match="no more"):
            model.caption([picture(), picture(1)], **SHORT)
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not loud  # whoever asked is told, and nobody twice
    assert model.caption(picture(), **SHORT) == expected


def test_numbers_that_are_none_are_named(model):
    seen = model.see(picture())
    bad = dataclasses.replace(seen, latents=seen.latents * math.nan)
    with pytest.raises(EngineError, match="not finite"):
        model.caption(bad, **SHORT)


def test_too_little_memory_names_the_batch(model, monkeypatch):
    monkeypatch.setattr(
        model.runner.engine._memory, "reserve", lambda *_: (_ for _ in ()).throw(Busy("no room"))
    )
    with pytest.raises(Busy, match="smaller batch"):
        model.caption(picture(), **SHORT)


def test_a_prompt_that_is_too_long_is_refused_before_any_is_answered(model):
    with pytest.raises(ValueError, match="tokens long"):
        model.ground(picture(), ["a dog", "dog " * 400])
    assert model.runner.engine.statistics().steps == 0
