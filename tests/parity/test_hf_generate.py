"""`generate` under the reference's names: the reference's own tokens, scores and states.

Two hundred and more random calls on small networks; then padding, where the reference's answer to
each prompt alone is what counts.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from kosmos2.config import Config
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.hf.generation.mixin import TRANSFORMERS_5, GenerationMixin
from kosmos2.hf.generation.streamers import TextStreamer
from kosmos2.model import Network
from networks import loud_network, twin_of

transformers = pytest.importorskip("transformers", reason="transformers is the oracle")

WORDS = 61
CONFIG = Config.tiny(vocabulary=WORDS)
BOS, PAD, EOS = CONFIG.text.bos, CONFIG.text.pad, CONFIG.text.eos
CALLS = 240
SIDES = ("left", "right")


class Model(GenerationMixin):
    """As little as a model can be."""

    def __init__(self, network: Network, compat: str | None = None) -> None:
        self.network = network
        self.compat = compat
        self.generation_config = GenerationConfig(
            bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD
        )


@pytest.fixture(scope="module", params=range(3))
def pair(request):
    network = loud_network(CONFIG, request.param)
    return Model(network), twin_of(network)


@pytest.fixture(scope="module")
def pairs():
    networks = [loud_network(CONFIG, seed) for seed in range(3)]
    return [(Model(network), twin_of(network, attn_implementation="eager")) for network in networks]


def prompts(seed: int, rows: int, side: str | None = None) -> dict[str, torch.Tensor]:
    """A picture and some words in each row; of one length, or padded on a side."""
    chance = torch.Generator().manual_seed(seed)
    start = [BOS, 3, *range(4, 4 + CONFIG.latents), 5]
    slots = [False, False, *[True] * CONFIG.latents, False]
    lengths = [4 + (3 * row + seed) % 7 if side else 5 + seed % 6 for row in range(rows)]
    longest = max(lengths)
    ids, masks, places = [], [], []
    for length in lengths:
        words = [*start, *torch.randint(3, WORDS, (length,), generator=chance).tolist()]
        parts = [(words, PAD), ([1] * len(words), 0), ([*slots, *[False] * length], False)]
        for kept, (part, filler) in zip((ids, masks, places), parts, strict=True):
            padding = [filler] * (longest - length)
            kept.append([*padding, *part] if side == "left" else [*part, *padding])
    size = CONFIG.vision.image_size
    return {
        "pixel_values": torch.randn(rows, 3, size, size, generator=chance),
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(masks),
        "image_embeds_position_mask": torch.tensor(places),
    }


def alone(inputs: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """One prompt without its padding."""
    keep = inputs["attention_mask"][row].bool()
    return {
        name: value[row : row + 1] if name == "pixel_values" else value[row : row + 1, keep]
        for name, value in inputs.items()
    }


def latents_of(twin, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        seen = twin.vision_model.model.post_layernorm(twin.vision_model(pixels)[0])
        return twin.image_to_text_projection(torch.nn.functional.normalize(seen, dim=-1))[0]


def favour(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """A user's processor that depends on what was written."""
    places = torch.arange(scores.shape[1]) + ids[:, -2:].sum(1, keepdim=True) + ids.shape[1]
    return scores + 0.5 * torch.sin(places)


def tired(ids: torch.Tensor, scores: Any) -> torch.Tensor:
    """A user's criterion that ends some rows and not others."""
    return (ids[:, -1] % 5 == 3) & (ids.shape[1] % 3 == 0)


class Tokens:
    """A streamer that remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def put(self, value: torch.Tensor) -> None:
        self.given.append(value.tolist())

    def end(self) -> None:
        self.given.append("end")


def wishes(seed: int) -> dict[str, Any]:
    """What a random call asks for."""
    dice = random.Random(seed)
    often = lambda chance: dice.random() < chance  # noqa: E731
    words: dict[str, Any] = {}
    kind = dice.choice(["greedy", "sample", "sample", "beams", "beams"])
    if kind == "sample":
        words["do_sample"] = True
        options = {
            "temperature": [0.6, 1.7, 3.0],
            "top_k": [0, 5, 12],
            "top_p": [0.5, 0.9],
            "min_p": [0.02, 0.2],
            "num_return_sequences": [2, 3],
        }
        words |= {name: dice.choice(values) for name, values in options.items() if often(0.4)}
    if kind == "beams":
        words["num_beams"] = dice.randint(2, 4)
        words["early_stopping"] = dice.choice([True, False, "never"])
        if often(0.6):
            words["length_penalty"] = dice.choice([-1.0, 0.0, 0.5, 2.0])
        if often(0.5):
            words["num_return_sequences"] = dice.randint(2, words["num_beams"])
    limits = [{"max_new_tokens": dice.randint(1, 14)}, {"max_length": dice.randint(24, 40)}, {}]
    words |= dice.choice([limits[0], limits[0], *limits])
    ends = dice.sample(range(3, WORDS), 5)
    words["eos_token_id"] = dice.choice([EOS, ends[0], ends[:2], ends, ends, None])
    if often(0.4):
        words["no_repeat_ngram_size"] = dice.choice([2, 3])
    if often(0.3):
        words["repetition_penalty"] = dice.choice([0.8, 1.3, 2.5])
    if often(0.3):
        words |= dice.choice([{"min_new_tokens": 4}, {"min_length": dice.randint(10, 30)}])
        if words.get("max_new_tokens", 9) < 4:
            del words["max_new_tokens"]
    if often(0.2):
        words["suppress_tokens"] = dice.sample(range(WORDS), 6)
    if often(0.2):
        runs = [[dice.randrange(WORDS) for _ in range(length)] for length in (1, 1, 2, 3)]
        ends = words["eos_token_id"]
        words["bad_words_ids"] = [*runs, [ends if isinstance(ends, int) else 4]]
    if often(0.15):
        words["renormalize_logits"] = True
    if often(0.2):
        words["use_cache"] = False
    if often(0.2):
        words["logits_processor"] = [favour]
    if often(0.2):
        words["stopping_criteria"] = [tired]
    if often(0.3) and kind != "beams":
        words["streamer"] = True
    if often(0.6):
        names = ("scores", "logits", "attentions", "hidden_states")
        words |= {f"output_{name}": True for name in names if often(0.6)}
        words["return_dict_in_generate"] = True
    words["_prompt"] = dice.choice(["ids", "ids", "latents", "embeds", "embeds and ids"])
    return words


def both(pair, words: dict[str, Any], inputs: dict[str, Any], seed: int) -> list[Any]:
    """What each of the two answers, and what its streamer was given."""
    answers = []
    for model in pair:
        given = dict(words)
        if "streamer" in words:
            given["streamer"] = Tokens()
        if model is pair[1]:
            for name, kind in (
                ("logits_processor", transformers.LogitsProcessorList),
                ("stopping_criteria", transformers.StoppingCriteriaList),
            ):
                if name in given:
                    given[name] = kind(given[name])
        torch.manual_seed(seed)
        answer = model.generate(**inputs, **given)
        answers.append((answer, given["streamer"].given if "streamer" in words else None))
    return answers


def same(ours: Any, theirs: Any, atol: float = 1e-4) -> None:
    """Equal as far as numbers of the network can be; whole numbers exactly."""
    if isinstance(theirs, torch.Tensor):
        assert ours.shape == theirs.shape
        if not theirs.is_floating_point():
            assert ours.tolist() == theirs.tolist()
            return
        torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-4)
    elif theirs is None:
        assert ours is None
    else:
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other, atol)


def filled(ids: torch.Tensor) -> torch.Tensor:
    """Beams that only a criterion ended are filled with -1 there, which is no id; with pad here."""
    return ids.masked_fill(ids == -1, PAD)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(CALLS))
def test_a_random_call_gives_what_it_gives_in_transformers(pairs, seed):
    pair, words = pairs[seed % len(pairs)], wishes(seed)
    inputs: dict[str, Any] = prompts(seed, rows=1 + seed % 3)
    prompt = words.pop("_prompt")
    if prompt != "ids":
        inputs["image_embeds"] = latents_of(pair[1], inputs.pop("pixel_values"))
    if prompt.startswith("embeds"):
        words.pop("use_cache", None)  # there they need it
        ids = inputs["input_ids"] if "ids" in prompt else inputs.pop("input_ids")
        inputs["inputs_embeds"] = pair[1].get_input_embeddings()(ids).detach()
    (ours, our_stream), (theirs, their_stream) = both(pair, words, inputs, seed)
    assert our_stream == their_stream
    if not words.get("return_dict_in_generate"):
        same(ours, filled(theirs))
        return
    theirs.sequences = filled(theirs.sequences)
    fields = ["sequences", "scores", "logits", "attentions", "hidden_states"]
    if "num_beams" in words:
        fields += ["sequences_scores", "beam_indices"]
        if "stopping_criteria" in words:
            # A path that a criterion ended may hold a place there, by a score equal to all others'.
            fields = ["sequences", "sequences_scores", "beam_indices"]
    for name in fields:
        # States within these loud networks are much larger than what comes out.
        atol = {"attentions": 1e-3, "hidden_states": 1e-2}.get(name, 1e-4)
        same(getattr(ours, name), getattr(theirs, name), atol)
    if words.get("use_cache", True):
        assert ours.past_key_values.get_seq_length() == theirs.past_key_values.get_seq_length()
    else:
        assert ours.past_key_values is None


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "words",
    [
        {"max_new_tokens": 12},
        {"max_new_tokens": 12, "use_cache": False},
        {"max_new_tokens": 12, "no_repeat_ngram_size": 2, "repetition_penalty": 1.7},
        {"max_new_tokens": 12, "min_length": 26, "eos_token_id": [3, 17, 25, 31, 40]},
        {"max_new_tokens": 12, "bad_words_ids": [[17], [25, 25], [31, 12, 5]]},
        {"max_new_tokens": 12, "num_beams": 3, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 9, "num_beams": 2, "num_return_sequences": 2, "use_cache": False},
    ],
    ids=lambda words: "-".join(words),
)
def test_a_padded_prompt_is_answered_as_if_it_had_come_alone(pair, side, words):
    ours, theirs = pair
    inputs = prompts(7, rows=4, side=side)
    assert not inputs["attention_mask"].all()
    answers = ours.generate(**inputs, **words)
    width, several = inputs["input_ids"].shape[1], words.get("num_return_sequences", 1)
    expected_ids = inputs["input_ids"].repeat_interleave(several, dim=0)
    assert torch.equal(answers[:, :width], expected_ids)
    for row in range(4):
        single = alone(inputs, row)
        expected = theirs.generate(**single, **words)[:, single["input_ids"].shape[1] :]
        for found, wanted in zip(answers[row * several :, width:], expected):
            assert found[: len(wanted)].tolist() == wanted.tolist()
            assert set(found[len(wanted) :].tolist()) <= {PAD}


@pytest.mark.parametrize("side", SIDES)
def test_padded_embeddings_are_answered_as_if_they_had_come_alone(pair, side):
    ours, theirs = pair
    inputs = prompts(8, rows=3, side=side)
    words = theirs.get_input_embeddings()
    embedded = words(inputs.pop("input_ids")).detach()
    answers = ours.generate(**inputs, inputs_embeds=embedded, max_new_tokens=8, eos_token_id=None)
    for row in range(3):
        single = alone(inputs, row)
        keep = inputs["attention_mask"][row].bool()
        single["inputs_embeds"] = embedded[row : row + 1, keep]
        expected = theirs.generate(**single, max_new_tokens=8, eos_token_id=None)
        assert answers[row].tolist() == expected[0].tolist()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "words",
    [
        {},
        {"use_cache": False},
        {"no_repeat_ngram_size": 2, "repetition_penalty": 1.7, "min_length": 24},
        {"num_beams": 3, "no_repeat_ngram_size": 2},
        {"do_sample": True, "num_return_sequences": 2},
    ],
    ids=lambda words: "-".join(words) or "greedy",
)
def test_with_compat_padding_spoils_what_it_spoils_in_transformers(pair, side, words):
    ours, theirs = pair
    inputs = prompts(9, rows=3, side=side)
    old = Model(ours.network, TRANSFORMERS_5)
    words = {"max_new_tokens": 10, "return_dict_in_generate": True, "output_scores": True} | words
    (found, _), (wanted, _) = both((old, theirs), words, inputs, seed=0)
    same(found.sequences, wanted.sequences)
    same(found.scores, wanted.scores)


def test_compat_is_needed_for_that(pair):
    ours, theirs = pair
    inputs = prompts(9, rows=3, side="left")
    words = {"max_new_tokens": 10, "return_dict_in_generate": True, "output_scores": True}
    (found, _), (wanted, _) = both((ours, theirs), words, inputs, seed=0)
    same(found.scores[0], wanted.scores[0])
    assert (found.scores[1] - wanted.scores[1]).abs().max() > 0.01


def test_padding_is_seen_without_a_mask_too(pair):
    ours, _ = pair
    inputs = prompts(3, rows=3, side="left")
    expected = ours.generate(**inputs, max_new_tokens=5)
    del inputs["attention_mask"]
    assert torch.equal(ours.generate(**inputs, max_new_tokens=5), expected)


def test_a_seed_gives_what_manual_seed_gives_there_and_leaves_chance_alone(pair):
    ours, theirs = pair
    inputs = prompts(4, rows=2)
    words = {"max_new_tokens": 8, "do_sample": True, "temperature": 1.5}
    torch.manual_seed(11)
    expected = theirs.generate(**inputs, **words)
    before = torch.get_rng_state()
    assert torch.equal(ours.generate(**inputs, **words, seed=11), expected)
    generator = torch.Generator().manual_seed(11)
    assert torch.equal(ours.generate(**inputs, **words, generator=generator), expected)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(ours.generate(**inputs, **words, seed=12), expected)


def test_a_picture_is_looked_at_once_however_many_answers(pair, monkeypatch):
    ours, _ = pair
    looked = []
    look = ours.network.look
    monkeypatch.setattr(ours.network, "look", lambda *a, **how: looked.append(1) or look(*a, **how))
    words = {"do_sample": True, "num_return_sequences": 3, "max_new_tokens": 2, "seed": 0}
    assert len(ours.generate(**prompts(5, rows=2), **words)) == 6
    assert looked == [1]


def test_two_pictures_in_a_row_are_answered_by_several_beams():
    """The reference would give a row its first picture twice."""
    ours = Model(loud_network(CONFIG, 5))
    inputs = prompts(6, rows=2)
    both_in_one = {
        name: torch.cat(value.split(1), dim=1) if name != "pixel_values" else value
        for name, value in inputs.items()
    }
    words = {"max_new_tokens": 6, "num_beams": 3}
    assert torch.equal(
        ours.generate(**both_in_one, **words),
        ours.generate(**both_in_one, **words, use_cache=False),
    )
    swapped = both_in_one | {"pixel_values": inputs["pixel_values"].flip(0)}
    words |= {"return_dict_in_generate": True, "output_scores": True}
    one, other = (ours.generate(**given, **words).scores[0] for given in (both_in_one, swapped))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("skip", [True, False])
def test_a_text_streamer_gives_the_pieces_that_it_gives_in_transformers(skip):
    class Letters:
        """Half words, lines and a Chinese character."""

        def decode(self, ids, **how):
            text = "".join("ab de\nf\u4e2d gh"[id % 11] for id in ids)
            return text.upper() if how.get("loud") else text

    def pieces(kind) -> list[tuple[str, bool]]:
        given = []

        class Kept(kind):
            def on_finalized_text(self, text, stream_end=False):
                given.append((text, stream_end))

        streamer = Kept(Letters(), skip_prompt=skip, loud=True)
        chance = torch.Generator().manual_seed(0)
        for _ in range(2):
            streamer.put(torch.randint(0, 99, (1, 7), generator=chance))
            for token in torch.randint(0, 99, (40, 1), generator=chance):
                streamer.put(token)
            streamer.end()
        return given

    assert pieces(TextStreamer) == pieces(transformers.TextStreamer)


@pytest.mark.filterwarnings("ignore")
def test_the_random_calls_are_worth_the_comparison(pairs):
    """Answers differ, some end by themselves, and every setting is asked for somewhere."""
    asked = {name for seed in range(CALLS) for name in wishes(seed)}
    assert asked >= {
        *("do_sample", "temperature", "top_k", "top_p", "min_p", "num_beams", "length_penalty"),
        *("early_stopping", "num_return_sequences", "no_repeat_ngram_size", "repetition_penalty"),
        *("max_new_tokens", "max_length", "min_new_tokens", "min_length", "suppress_tokens"),
        *("bad_words_ids", "stopping_criteria", "logits_processor", "streamer", "use_cache"),
        *("output_scores", "output_logits", "output_attentions", "output_hidden_states"),
    }
    lengths, answers = [], set()
    for seed in range(40):
        words = wishes(seed)
        words.pop("streamer", None), words.pop("_prompt")
        words |= {"max_new_tokens": 14, "return_dict_in_generate": False, "min_new_tokens": None}
        inputs = prompts(seed, rows=1)
        ours, _ = pairs[seed % len(pairs)]
        answer = ours.generate(**inputs, **words)[:, inputs["input_ids"].shape[1] :]
        lengths.append(answer.shape[1])
        answers |= {tuple(row) for row in answer.tolist()}
    assert sum(length < 14 for length in lengths) >= 10
    assert sum(length == 14 for length in lengths) >= 10
    assert len(answers) > 35
