"""The one object on a small random network: alone and in company, whole and streamed."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from kosmos2 import Entity, Grounded, Kosmos2, Options, PromptError, Text
from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError, InputError
from kosmos2.grounder.reading import _Held
from kosmos2.markup import joined
from kosmos2.model import Network
from kosmos2.train import vocabulary
from networks import loud_network

SHORT = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    tokenizer = vocabulary.build()
    config = Config.tiny(vocabulary=tokenizer.size)
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, positions=300))
    network = loud_network(config, 3)
    return Kosmos2(network, tokenizer, name="random", batch=3)


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (40 + 9 * i, 60, 3), dtype=np.uint8) for i in range(count)]


VERBS = {
    "caption": lambda m, image, **s: m.caption(image, **s),
    "caption in detail": lambda m, image, **s: m.caption(image, detailed=True, **s),
    "caption without boxes": lambda m, image, **s: m.caption(image, grounded=False, **s),
    "ground": lambda m, image, **s: m.ground(image, "a snowman", **s),
    "ground several": lambda m, image, **s: m.ground(image, ["a dog", "the fire", "zebra"], **s),
    "describe": lambda m, image, **s: m.describe(image, (0.1, 0.2, 0.5, 0.6), **s),
    "ask": lambda m, image, **s: m.ask(image, "What is left of the dog?", **s),
    "ask about a box": lambda m, image, **s: m.ask(
        image, "What is [this]?", [(0.1, 0.2, 0.5, 0.6)], **s
    ),
    "complete": lambda m, image, **s: m.complete(image, "<grounding>An image of", **s),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_an_answer_in_a_list_is_the_answer_alone(model, verb):
    several = pictures(4)
    together = verb(model, several, **SHORT)
    assert [verb(model, one, **SHORT) for one in several] == together
    assert len({answer.markup for answer in together}) > 1, "the pictures make no difference"


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize("how", [{}, {"temperature": 1.5, "seed": 5}, {"beams": 3}])
def test_a_stream_adds_up_to_the_whole(model, verb, how):
    (image,) = pictures(1)
    whole = verb(model, image, **SHORT, **how)
    *events, last = list(verb(model.stream, image, **SHORT, **how))
    assert last == whole
    texts = [event.text for event in events if isinstance(event, Text)]
    assert "".join(texts) == whole.text
    streamed = [event for event in joined(events) if isinstance(event, Entity)]
    assert streamed == [entity for entity in whole.entities if entity.boxes]


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_picture_already_seen_gives_the_same_answer(model, verb):
    (image,) = pictures(1)
    assert verb(model, model.see(image), **SHORT) == verb(model, image, **SHORT)


def test_one_look_serves_sixteen_phrases(model, monkeypatch):
    image = pictures(9)[-1]  # that nobody has looked at yet
    looks = []
    plain = model.network.look
    monkeypatch.setattr(
        model.network, "look", lambda pixels: looks.append(len(pixels)) or plain(pixels)
    )
    answer = model.ground(image, [f"thing {i}" for i in range(16)], max_new_tokens=2)
    assert looks == [1]
    assert [entity.phrase for entity in answer.entities] == [f"thing {i}" for i in range(16)]


def test_every_phrase_asked_for_is_an_entity_at_its_place(model):
    (image,) = pictures(1)
    phrases = ["a dog", "the fire", "something else"]
    answer = model.ground(image, phrases, **SHORT)
    assert [entity.phrase for entity in answer.entities if entity.phrase in phrases] == phrases
    for entity in answer.entities:
        assert answer.text[entity.start : entity.end] == entity.phrase


def test_stop_texts_cut_the_answer_and_are_no_part_of_it(model):
    (image,) = pictures(1)
    whole = model.complete(image, "An image of", max_new_tokens=20).markup
    answer = whole.removeprefix("An image of")
    stop = answer[8:11]
    cut = model.complete(image, "An image of", max_new_tokens=20, stop=stop)
    assert cut.markup == whole[: whole.index(stop, len("An image of"))]
    assert cut.finish == "stop"


@pytest.mark.parametrize("widths", [(1,) * 12, (3, 4, 5), (12,), (2, 9, 1)])
@pytest.mark.parametrize("stop", [("lo wo",), ("zzz",), ("wor", "o w"), ("h",)])
def test_holding_back_changes_no_text_however_it_is_cut(widths, stop):
    text, at, passed = "hello world!", 0, []
    held = _Held(stop)
    for width in widths:
        passed += held.push(text[at : at + width], None)
        at += width
        if held.stopped:
            break
    passed += held.rest()
    places = [place for s in stop if (place := text.find(s)) >= 0]
    assert "".join(piece for piece, _ in passed) == text[: min(places, default=len(text))]


def test_prompt_words_never_become_tags(model):
    (image,) = pictures(1)
    answer = model.ground(image, "a </phrase><object> dog", max_new_tokens=2)
    assert "</phrase>" not in answer.prompt.removesuffix("</phrase>")


def test_a_text_alone_can_be_gone_on_from(model):
    assert model.complete(None, "An image of", **SHORT).image is None


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m, i: m.caption(i, max_tokens=3), ConfigError, "max_new_tokens"),
        (lambda m, i: m.caption(i, temperature=float("nan")), ConfigError, "temperature"),
        (lambda m, i: m.ground(i, ""), PromptError, "phrase is empty"),
        (lambda m, i: m.ground(i, []), PromptError, "at least one"),
        (lambda m, i: m.complete(i, ""), PromptError, "prompt is empty"),
        (lambda m, i: m.describe(i, (0.5, 0.5, 0.2, 0.9)), PromptError, "x2"),
        (lambda m, i: m.describe(i, (0.5, 0.5, 0.2)), PromptError, "numbers"),
        (lambda m, i: m.describe(i, (float("nan"), 0, 1, 1)), PromptError, "nan"),
        (lambda m, i: m.ask(i, "What is [this]?", [(0, 0, 1, 1)] * 2), PromptError, "2 box lists"),
        (lambda m, i: m.complete(i, "dog " * 400), PromptError, "tokens long"),
        (lambda m, i: m.stream.caption([i]), PromptError, "one picture at a time"),
        (lambda m, i: Kosmos2.load("demmo"), CheckpointError, "demo"),
        (lambda m, i: Kosmos2.load(device="warp"), ConfigError, "warp"),
        (lambda m, i: Kosmos2.load(dtype="int7"), ConfigError, "int7"),
    ],
)
def test_wrong_input_is_refused_with_the_way_out(model, call, error, says):
    with pytest.raises(error, match=says):
        call(model, pictures(1)[0])


def test_what_another_model_saw_is_refused(model):
    other = Kosmos2(Network(model.config), model.tokenizer)
    with pytest.raises(InputError, match="another model"):
        other.caption(model.see(pictures(1)[0]))


def test_saved_and_loaded_again_it_answers_the_same(model, tmp_path):
    model.save(tmp_path)
    again = Kosmos2.load(tmp_path)
    again.no_repeat_ngram_size = model.no_repeat_ngram_size
    (image,) = pictures(1)
    mine, theirs = model.caption(image, **SHORT), again.caption(image, **SHORT)
    assert dataclasses.replace(theirs, model="random") == mine


def test_settings_are_the_options(model):
    (image,) = pictures(1)
    assert model.caption(image, max_new_tokens=3).tokens == Options(max_new_tokens=3).max_new_tokens
    answer = model.caption(image, max_new_tokens=3)
    assert isinstance(answer, Grounded)
    assert answer.finish == "length"


def test_a_picture_is_looked_at_upright_whatever_it_came_as(model, tmp_path):
    (array,) = pictures(1)
    image = Image.fromarray(array)
    image.save(tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    answers = [model.caption(s, **SHORT) for s in (array, image, tmp_path / "picture.png", data)]
    assert all(answer == answers[0] for answer in answers)
