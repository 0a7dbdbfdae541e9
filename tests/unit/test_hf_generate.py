"""`generate`: what it refuses, what ends it, and that it leaves nothing behind."""

from __future__ import annotations

import math
import threading
import weakref

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine.beam import Contest
from kosmos2.errors import ConfigError, EngineError, ImageError, InputError, PromptError
from kosmos2.hf import notices
from kosmos2.hf.config import Kosmos2Config
from kosmos2.hf.generation import reader, stopping
from kosmos2.hf.generation.streamers import TextIteratorStreamer, TextStreamer
from kosmos2.hf.model import Kosmos2ForConditionalGeneration
from networks import loud_network

WORDS = 61
CONFIG = Config.tiny(vocabulary=WORDS)
PAD, EOS = CONFIG.text.pad, CONFIG.text.eos


@pytest.fixture(scope="module")
def model():
    network = loud_network(CONFIG)
    return Kosmos2ForConditionalGeneration(Kosmos2Config.of_network(CONFIG), network=network).eval()


@pytest.fixture(autouse=True)
def _nothing_said():
    notices.forget()
    yield
    notices.forget()


@pytest.fixture
def inputs():
    chance = torch.Generator().manual_seed(0)
    size = CONFIG.vision.image_size
    ids = [0, 3, *range(4, 4 + CONFIG.latents), 5, 20, 30]
    slots = [0, 0, *[1] * CONFIG.latents, 0, 0, 0]
    return {
        "pixel_values": torch.randn(2, 3, size, size, generator=chance),
        "input_ids": torch.tensor([ids, ids]),
        "attention_mask": torch.ones(2, len(ids), dtype=torch.long),
        "image_embeds_position_mask": torch.tensor([slots, slots]),
    }


class Ids:
    """A tokenizer that writes numbers."""

    def decode(self, ids, **how):
        return "".join(f"{id} " for id in ids)


def width(inputs) -> int:
    return inputs["input_ids"].shape[1]


# what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": None}, "there is no picture; pass pixel_values"),
        ({"inputs": torch.zeros(1)}, "pixel_values and inputs are both given"),
        ({"input_ids": None}, "there is no prompt; pass input_ids"),
        ({"input_ids": [[0, 3]]}, "input_ids is list, not a tensor.*return_tensors='pt'"),
        ({"input_ids": torch.zeros(3).long()}, r"input_ids has the shape \[3\]"),
        ({"input_ids": torch.zeros(2, 0).long()}, "a prompt has at least one token"),
        ({"input_ids": torch.zeros(2, 14)}, "input_ids are torch.float32; give whole numbers"),
        ({"input_ids": torch.full((2, 14), WORDS)}, "the model has the ids 0 to 60"),
        ({"attention_mask": torch.ones(2, 3)}, r"attention_mask is \[2, 3\] for a prompt of"),
        ({"attention_mask": torch.ones(2, 1, 14, 14)}, r"attention_mask has the shape"),
        ({"attention_mask": torch.zeros(2, 14)}, "prompt 0 of 2 is nothing but padding"),
        ({"image_embeds_position_mask": None}, "no image_embeds_position_mask to say where"),
        ({"image_embeds_position_mask": torch.zeros(2, 14)}, "0 slots for 18 latents"),
        ({"image_embeds_position_mask": torch.ones(2, 15)}, "image_embeds_position_mask is"),
        ({"image_embeds": torch.zeros(2, 9, 3)}, r"image_embeds are \[2, 9, 3\]; give a tensor"),
        ({"inputs_embeds": torch.zeros(2, 14, 3)}, "as 56 real numbers each"),
        ({"inputs_embeds": torch.zeros(2, 13, 56)}, "pass the ids of the same tokens"),
        ({"pixel_value": 1}, "no argument 'pixel_value'; did you mean pixel_values"),
        ({"max_new_token": 1}, "'max_new_token'; did you mean max_new_tokens"),
        ({"position_ids": torch.zeros(2, 14)}, "positions are counted from the attention_mask"),
        ({"past_key_values": ()}, "give the whole prompt"),
        ({"num_beam_groups": 2}, "num_beam_groups=2 is not offered here"),
        ({"num_return_sequences": 2}, "raise num_beams, or sample"),
        ({"max_length": 14}, "14 tokens and max_length=14 counts them too"),
        ({"max_time": 0}, "max_time is 0; give seconds above 0"),
        ({"suppress_tokens": [WORDS]}, "suppress_tokens names 61"),
        ({"eos_token_id": [2, 99]}, "eos_token_id names 99"),
        ({"logits_processor": [1]}, "logits_processor holds 1, which cannot be called"),
        ({"logits_processor": lambda ids, scores: None}, "<lambda> gave back NoneType"),
        ({"stopping_criteria": [lambda ids, scores: None]}, "a stopping criterion said None"),
        ({"seed": 1, "generator": torch.Generator()}, "choose one of them"),
        ({"seed": -1}, "seed is -1"),
        ({"streamer": print}, r"has no put\(\)"),
        ({"streamer": TextStreamer(Ids()), "num_beams": 2}, "beams are searched, not streamed"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(model, inputs, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        model.generate(**inputs | change)
    assert isinstance(caught.value, (InputError, PromptError, ConfigError))


def test_arguments_that_the_reference_takes_may_be_none(model, inputs):
    nothing = dict.fromkeys(["labels", "position_ids", "assistant_model", "logits_processor"])
    assert model.generate(**inputs, **nothing, max_new_tokens=1).shape == (2, width(inputs) + 1)


def test_logits_that_are_no_numbers_are_named(model, inputs):
    broken = inputs["pixel_values"].clone()
    broken[1] = math.nan
    with pytest.raises(EngineError, match=r"row 1, step 0: .* not finite"):
        model.generate(**inputs | {"pixel_values": broken})


@pytest.mark.parametrize("more", [{}, {"do_sample": True}, {"num_beams": 2}])
def test_rules_that_leave_nothing_are_named(model, inputs, more):
    with pytest.raises(EngineError, match="row 0, step 0: no token is left"):
        model.generate(**inputs, suppress_tokens=list(range(WORDS)), **more)


def test_a_processor_that_makes_nan_is_named(model, inputs):
    def ruin(ids, scores):
        return scores * math.nan

    with pytest.raises(EngineError, match="logits_processor ruin gave back NaN"):
        model.generate(**inputs, logits_processor=[ruin])


def test_an_ended_row_may_have_no_token_left(model, inputs):
    """Its rules go on, but nobody waits for it."""

    def only_padding_after_the_end(ids, scores):
        ended = (ids[:, -1] == 7) | (ids[:, -1] == PAD)
        return scores.masked_fill(ended[:, None], -math.inf)

    def seven_first(ids, scores):
        if ids.shape[1] == width(inputs):
            scores = scores.clone()
            scores[0, 7] = 1e4
        return scores

    for more in ({}, {"do_sample": True, "seed": 1}):
        rules = [seven_first, only_padding_after_the_end]
        answer = model.generate(
            **inputs, eos_token_id=7, logits_processor=rules, max_new_tokens=4, **more
        )
        assert answer[0, width(inputs) :].tolist() == [7, PAD, PAD, PAD]


def test_a_picture_of_another_size_needs_a_word(model, inputs):
    side = CONFIG.vision.image_size + 2 * CONFIG.vision.patch_size
    other = inputs | {"pixel_values": torch.zeros(2, 3, side, side)}
    with pytest.raises(ImageError, match="this tower reads"):
        model.generate(**other)
    answer = model.generate(**other, interpolate_pos_encoding=True, max_new_tokens=1)
    assert answer.shape[1] == width(inputs) + 1


# what ends an answer


def test_twenty_tokens_are_the_default(model, inputs):
    assert model.generate(**inputs, eos_token_id=None).shape[1] == width(inputs) + 20


def test_max_length_counts_the_prompt_and_max_new_tokens_comes_first(model, inputs):
    long = model.generate(**inputs, eos_token_id=None, max_length=width(inputs) + 3)
    assert long.shape[1] == width(inputs) + 3
    with pytest.warns(notices.Notice, match="max_new_tokens counts"):
        short = model.generate(**inputs, eos_token_id=None, max_length=50, max_new_tokens=2)
    assert torch.equal(short, long[:, :-1])


@pytest.mark.parametrize("more", [{}, {"num_beams": 2}])
@pytest.mark.parametrize("shape", ["bool", "number", "rows"])
def test_a_criterion_may_say_it_as_a_bool_or_a_tensor(model, inputs, shape, more):
    def third(ids, scores):
        late = ids.shape[1] == width(inputs) + 3
        if shape == "bool":
            return late
        return torch.tensor(late) if shape == "number" else torch.full((len(ids),), late)

    answer = model.generate(**inputs, eos_token_id=None, stopping_criteria=third, **more)
    assert answer.shape[1] == width(inputs) + 3


def test_time_ends_an_answer(model, inputs, monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(stopping, "monotonic", lambda: float(next(now)))
    answer = model.generate(**inputs, eos_token_id=None, max_time=3.5)
    assert answer.shape[1] == width(inputs) + 4


def test_an_answer_may_go_beyond_the_context_after_a_notice(model, inputs):
    room = CONFIG.text.positions - width(inputs)
    words = {"eos_token_id": None, "use_cache": True}
    within = model.generate(**inputs, max_new_tokens=room, **words)
    with pytest.warns(notices.Notice, match="beyond the 130 tokens"):
        beyond = model.generate(**inputs, max_new_tokens=room + 3, **words)
    assert torch.equal(beyond[:, : within.shape[1]], within)


def test_a_prompt_as_long_as_the_context_needs_a_word_to_go_on(model, inputs):
    filler = torch.full((2, CONFIG.text.positions - width(inputs)), 20)
    long = {
        "pixel_values": inputs["pixel_values"],
        "input_ids": torch.cat([inputs["input_ids"], filler], dim=1),
        "image_embeds_position_mask": inputs["image_embeds_position_mask"],
    }
    with pytest.raises(InputError, match="130 tokens, and the model was trained to read 130"):
        model.generate(**long)
    assert model.generate(**long, max_new_tokens=1).shape[1] == CONFIG.text.positions + 1


def test_a_least_length_that_cannot_be_reached_is_noticed(model, inputs):
    with pytest.warns(notices.Notice, match="at least 36 tokens .* end after 5"):
        model.generate(**inputs, min_length=50, max_new_tokens=5)


# streams


def test_a_stream_can_be_read_in_another_thread(model, inputs):
    one = {name: value[:1] for name, value in inputs.items()}
    streamer = TextIteratorStreamer(Ids(), skip_prompt=True, timeout=60)
    words = {"max_new_tokens": 5, "eos_token_id": None}
    worker = threading.Thread(target=model.generate, kwargs={**one, **words, "streamer": streamer})
    worker.start()
    text = "".join(streamer)
    worker.join()
    assert text == Ids().decode(model.generate(**one, **words)[0, width(one) :].tolist())


def test_a_streamer_writes_to_standard_output(model, inputs, capsys):
    one = {name: value[:1] for name, value in inputs.items()}
    answer = model.generate(**one, max_new_tokens=3, streamer=TextStreamer(Ids()))
    assert capsys.readouterr().out == Ids().decode(answer[0].tolist()) + "\n"


def test_a_text_streamer_refuses_several_rows_and_still_ends(model, inputs):
    streamer = TextIteratorStreamer(Ids(), timeout=60)
    with pytest.raises(InputError, match="shows one answer and there are 2 rows"):
        model.generate(**inputs, streamer=streamer)
    assert list(streamer) == [""]


def test_a_stream_ends_even_if_the_call_was_refused(model, inputs):
    streamer = TextIteratorStreamer(Ids(), timeout=60)
    with pytest.raises(ConfigError):
        model.generate(**inputs, streamer=streamer, max_new_tokens=-1)
    assert list(streamer) == [""]


# nothing is left behind


@pytest.mark.parametrize("more", [{}, {"num_beams": 2}])
def test_an_interrupted_call_leaves_nothing_behind(model, inputs, more, monkeypatch):
    kept = []

    class Remembered(reader.DynamicCache):
        def __init__(self):
            super().__init__()
            kept.append(weakref.ref(self))

    def interrupt(ids, scores):
        if ids.shape[1] == width(inputs) + 2:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(reader, "DynamicCache", Remembered)
    try:
        model.generate(**inputs, stopping_criteria=[interrupt], eos_token_id=None, **more)
    except KeyboardInterrupt:
        pass
    else:
        pytest.fail("it was not interrupted")
    assert len(kept) == 1
    assert kept[0]() is None
    assert torch.is_grad_enabled()
    assert model.generate(**inputs, max_new_tokens=2).shape == (2, width(inputs) + 2)


def test_no_gradients_are_kept_and_the_inputs_stay_as_they_are(model, inputs):
    before = {name: value.clone() for name, value in inputs.items()}
    words = {"return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True}
    output = model.generate(**inputs, **words, max_new_tokens=3)
    tensors = [*output.scores, *output.hidden_states[-1], *output.past_key_values.keys]
    assert not any(tensor.requires_grad for tensor in tensors)
    assert all(torch.equal(inputs[name], before[name]) for name in inputs)
    settings = model.generation_config.to_dict()
    model.generate(**inputs, num_beams=2, max_new_tokens=1)
    assert model.generation_config.to_dict() == settings


def test_in_training_mode_dropout_stays_as_in_the_reference_and_is_noticed(model, inputs):
    words = {"max_new_tokens": 1, "return_dict_in_generate": True, "output_scores": True}
    sure = model.generate(**inputs, **words).scores[0]
    model.train()
    try:
        with pytest.warns(notices.Notice, match="training mode"):
            unsure = model.generate(**inputs, **words).scores[0]
        assert model.training
    finally:
        model.eval()
    assert not torch.allclose(sure, unsure, atol=1e-3)


def test_the_cache_of_an_answer_goes_on_in_forward_after_padding_too(model, inputs):
    padded = {
        "pixel_values": inputs["pixel_values"],
        "input_ids": torch.nn.functional.pad(inputs["input_ids"], (3, 0), value=PAD),
        "attention_mask": torch.nn.functional.pad(inputs["attention_mask"], (3, 0)),
        "image_embeds_position_mask": torch.nn.functional.pad(
            inputs["image_embeds_position_mask"], (3, 0)
        ),
    }
    words = {"max_new_tokens": 3, "eos_token_id": None, "return_dict_in_generate": True}
    found = model.generate(**padded, **words, output_logits=True)
    longer = model.generate(**padded, **words | {"max_new_tokens": 4}, output_logits=True)
    with torch.no_grad():
        mask = torch.nn.functional.pad(padded["attention_mask"], (0, 3), value=1)
        read = model(
            input_ids=found.sequences[:, -1:],
            attention_mask=mask,
            past_key_values=found.past_key_values,
        )
    torch.testing.assert_close(read.logits[:, -1], longer.logits[3], atol=1e-4, rtol=0)


# the settings of a model, a file, a call


def test_a_calls_words_count_more_than_its_configuration_and_that_more_than_the_models(
    model, inputs, monkeypatch
):
    config = model.generation_config.merged(max_new_tokens=5, eos_token_id=None)
    monkeypatch.setattr(model, "generation_config", config)
    wanted = {"max_new_tokens": 3}
    assert model.generate(**inputs).shape[1] == width(inputs) + 5
    assert model.generate(**inputs, generation_config=wanted).shape[1] == width(inputs) + 3
    answer = model.generate(**inputs, generation_config=wanted, max_new_tokens=2)
    assert answer.shape[1] == width(inputs) + 2


def test_half_precision_answers_with_scores_in_full(inputs):
    network = loud_network(CONFIG).to(torch.bfloat16)
    half = Kosmos2ForConditionalGeneration(Kosmos2Config.of_network(CONFIG), network=network).eval()
    words = {"max_new_tokens": 3, "return_dict_in_generate": True, "output_scores": True}
    for more in ({}, {"num_beams": 2}):
        assert {s.dtype for s in half.generate(**inputs, **words, **more).scores} == {torch.float32}


# the one beam search of the house


def contest(**words) -> Contest[tuple[int, ...]]:
    """A search among the words 0 to 3, of which 0 ends."""
    search: Contest[tuple[int, ...]] = Contest((), beams=2, limit=9, **words)
    steps = [
        [-1.0, -0.7, -3.0, -9.0],
        [-0.5, -2.0, -3.0, -9.0],
        [-4.0, -0.01, -5.0, -9.0],
        [-0.1, -3.0, -5.0, -9.0],
    ]
    for step in steps:
        scores = torch.tensor([step] * len(search.paths))
        candidates = search.candidates(scores, 1)
        paths = search.paths
        search.settle(
            candidates,
            [candidate.id == 0 for candidate in candidates],
            lambda candidate, paths=paths: (*paths[candidate.parent], candidate.id),
        )
        if search.over:
            break
    return search


def test_early_stopping_takes_the_first_to_end_and_never_waits_for_the_best():
    early, usual, never = (
        contest(early_stopping=when, length_penalty=2.0) for when in (True, False, "never")
    )
    assert early.length == 2
    assert [path for _, path in early.ended] == [(1, 0), (0,)]
    assert never.length == 4
    assert never.ended[0][1] == (1, 1, 1, 0)
    assert never.ended[0][0] > early.ended[0][0]
    assert usual.length <= never.length
