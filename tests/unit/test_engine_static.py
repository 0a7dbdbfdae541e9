"""The step of fixed shapes answers as the plain loop does, and touches nothing but its own rows."""

from __future__ import annotations

import inspect
import json
import math
import os
import random
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kosmos2.engine import collect, generate
from kosmos2.engine.filters import Never, NoRepeat, NotYet
from kosmos2.engine.grammar import Grammar
from kosmos2.engine.likeliest import Place, chosen
from kosmos2.engine.one_token import OneToken, suits
from kosmos2.engine.request import Request
from kosmos2.engine.slots import Rows, Slots
from kosmos2.engine.static import LENGTH, Static, rounded_length, rounded_rows
from kosmos2.engine.worker import Engine
from kosmos2.errors import ConfigError, EngineError
from kosmos2.model.quantised import quantise
from kosmos2.options import Options
from mixes import (
    BOS,
    CONFIG,
    EOS,
    LOCATIONS,
    PAD,
    RULES,
    TAGS,
    Known,
    Prompts,
    answer_as_they_come,
    asked,
    grammar_of,
    looked_at,
    phrase,
    same,
)
from networks import loud_network

TEXT = CONFIG.text
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Odd:
    """A rule that the device knows nothing about."""

    def apply(self, logits, prompt, answer):
        return logits.index_fill(0, torch.arange(len(answer) % 2, len(logits), 2), -math.inf)


@pytest.fixture(scope="module")
def network():
    return loud_network(CONFIG, seed=5)


@pytest.fixture(scope="module")
def known(network) -> list[Known]:
    """Requests of every kind."""
    dice = random.Random(11)
    pictures = looked_at(network, 3)
    made = []
    for number in range(60):
        words = [dice.randrange(5, 1100) for _ in range(dice.choice([1, 2, 5, 8, 50]))]
        picture = dice.choice([None, 0, 1, 2])
        most = dice.choice([1, 2, 9, 14, 25])
        how = {}
        if number % 4 == 0:
            how["filters"] = (grammar_of(dice, most),)
            how["own_logprobs"] = number % 8 == 0
            words += phrase(dice)
        if number % 10 == 3:
            how["filters"] = (Odd(),)
        if number % 7 == 0:
            how["stop_ids"] = frozenset(range(100, dice.choice([120, 300])))
        sampled = {"temperature": 1.3, "top_p": 0.9, "seed": number} if number % 6 == 5 else {}
        options = Options(
            max_new_tokens=most,
            min_new_tokens=min(most, dice.choice([0, 3, 12])),
            no_repeat_ngram_size=dice.choice([0, 0, 1, 2, 3]),
            top_logprobs=3 if number % 9 == 0 else 0,
            **sampled,
        )
        latents = None if picture is None else pictures[picture : picture + 1]
        key = picture if number % 3 else None
        made.append(asked(network, words, latents, prefix_key=key, options=options, **how))
    return made


def static_engine(network, **settings) -> Engine:
    return Engine(network, **{"background": False, "static": True, **settings})


def told(static, slot, id, position, place) -> None:
    """Say what a row reads; the id that is forbidden is the one of padding."""
    static._told[slot] = torch.tensor(
        [id, position, place, 0] + [PAD] * (static._told.shape[1] - 4)
    )


def memory_of(seed: int, *, slots: int = 6, capacity: int = 100) -> Slots:
    """Memory full of numbers, the spare place too."""
    made = Slots(TEXT, slots, device=CPU, dtype=torch.float32, spare=1)
    made.reserve(slots - 1, capacity)
    random = torch.Generator().manual_seed(seed)
    for pair in made.pairs:
        pair.normal_(generator=random)
    return made


def test_the_pool_has_every_kind_of_answer(known):
    assert len({one.answer.ids for one in known}) > 45
    assert {one.answer.finish for one in known} == {"stop", "length"}
    assert any(p is not None for one in known for p in one.answer.location_logprobs)


@pytest.mark.parametrize("mix", range(30))
def test_in_any_company_the_step_answers_as_the_loop_does(network, known, mix):
    dice = random.Random(mix)
    engine = static_engine(
        network,
        slots=dice.randint(1, 9),
        queue=20,
        chunk=dice.choice([7, 64, 300]),
        padding=dice.choice([0, 1000]),
        prefix_bytes=dice.choice([0, 10**9]),
    )
    coming = [(one, dice.randint(0, 12)) for one in dice.sample(known, dice.randint(2, 12))]
    answer_as_they_come(engine, coming, dice, leave=0.2)


def test_the_device_chooses_for_all_but_those_that_sample_or_have_odd_rules(network, known):
    engine = static_engine(network, slots=8)
    for ours, one in zip(engine.run([one.request for one in known]), known, strict=True):
        same(ours, one.answer)
    static = engine._steps.static
    by_host = set()

    class Spy:
        def apply(self, logits, prompt, answer):
            by_host.add(len(answer))
            return logits

    plain = replace(known[1].request, options=Options(max_new_tokens=5, min_new_tokens=5))
    engine.run([plain])
    assert static is not None
    assert engine._steps.static is static
    assert not by_host
    engine.run([replace(plain, filters=(Spy(),))])
    assert by_host == set(range(5))


@pytest.mark.parametrize("seed", range(8))
def test_the_step_is_the_decoder_with_its_matrices_joined(network, seed):
    dice = random.Random(seed)
    slots = sorted(dice.sample(range(6), dice.randint(1, 6)))
    starts = [dice.randrange(0, 100) for _ in slots]
    ids = [dice.randrange(5, 1100) for _ in slots]
    ours, plain = memory_of(seed), memory_of(seed)
    static = Static(network, ours)
    rows, length = rounded_rows(slots[-1] + 1, 6), rounded_length(max(starts) + 1, ours.capacity)
    for row in range(rows):
        told(static, row, *static.nobody[:3])
    for slot, id, start in zip(slots, ids, starts):
        told(static, slot, id, PAD + 1 + start, start)
    static.run(rows, length, LOCATIONS)
    view = Rows(plain, slots, starts, [1] * len(slots))
    with torch.no_grad():
        mask, causal = view.order()
        hidden = network.decoder(
            network.decoder.words(torch.tensor(ids)[:, None]),
            torch.tensor(starts)[:, None] + PAD + 1,
            mask=mask,
            causal=causal,
            cache=view,
        )
        logits = network.decoder.logits(hidden[:, 0])
    torch.testing.assert_close(static._logits[slots], logits, atol=1e-4, rtol=1e-4)
    for a, b in zip(ours.pairs, plain.pairs):
        torch.testing.assert_close(a[..., :-1, :], b[..., :-1, :], atol=1e-4, rtol=1e-4)
        others = [slot for slot in range(6) if slot not in slots]
        assert torch.equal(a[:, others, :, :-1], b[:, others, :, :-1])  # to the last bit
        for slot, start in zip(slots, starts):
            old = [at for at in range(100) if at != start]
            assert torch.equal(a[:, slot, :, old], b[:, slot, :, old])


def test_a_step_done_twice_is_a_step_done_once(network):
    """Before it is recorded it runs to warm up, with the inputs of the first real one."""
    static = Static(network, memory_of(3))
    for row, place in enumerate((5, 70, 9, 44)):
        told(static, row, 100 + row, place + 2, place)
    static.run(4, 128, LOCATIONS)
    once, held = static._said.clone(), [pair.clone() for pair in static.memory.pairs]
    for _ in range(3):
        static.run(4, 128, LOCATIONS)
    assert torch.equal(static._said, once)
    assert all(torch.equal(a, b) for a, b in zip(static.memory.pairs, held))


def test_steps_are_made_once_for_each_shape_and_again_when_the_memory_is_another(network):
    engine = static_engine(network, slots=4)
    make = lambda words, new: Request(  # noqa: E731
        prompt=(BOS, *range(70, 70 + words)),
        options=Options(max_new_tokens=new, min_new_tokens=new),
        **RULES,
    )
    engine.run([make(4, 30)])
    static = engine._steps.static
    assert static is not None
    assert set(static._steps) == {(1, LENGTH, LOCATIONS)}
    before = next(iter(static._steps.values()))
    engine.run([make(9, 30)])
    assert list(static._steps.values()) == [before]
    engine.run([make(58, 30)])
    assert set(static._steps) == {(1, LENGTH, LOCATIONS), (1, 2 * LENGTH, LOCATIONS)}
    engine.run([make(4, 9), make(5, 9), make(6, 4)])  # more slots: the memory was made anew
    assert set(static._steps) == {(4, LENGTH, LOCATIONS), (2, LENGTH, LOCATIONS)}


def test_in_few_bits_the_same_words_come_out_mostly(network):
    exact = static_engine(network)
    rough = static_engine(loud_network(CONFIG, seed=5).to(torch.bfloat16))
    asks = [
        Request(
            prompt=(BOS, *range(70 + n, 90 + n)),
            options=Options(max_new_tokens=1, min_new_tokens=1),
            **RULES,
        )
        for n in range(40)
    ]
    pairs = list(zip(exact.run(asks), rough.run(asks)))
    assert sum(a.ids == b.ids for a, b in pairs) >= 25
    more = [replace(ask, options=Options(max_new_tokens=9, min_new_tokens=9)) for ask in asks[:4]]
    assert all(len(answer.ids) == 9 for answer in rough.run(more))


@pytest.mark.parametrize("background", [True, False])
def test_what_is_wrong_with_one_request_stays_with_that_one(network, background):
    def request(*words, **more):
        fixed = {"options": Options(max_new_tokens=12, min_new_tokens=12), **RULES}
        return Request(prompt=(BOS, *words), **fixed | more)

    @dataclass(frozen=True)
    class Nothing:
        def apply(self, logits, prompt, answer):
            return torch.full_like(logits, -math.inf) if len(answer) == 4 else logits

    latents = torch.zeros(1, CONFIG.latents, TEXT.width)
    picture = {
        "slots": (False, False, *[True] * CONFIG.latents, False, False),
        "latents": latents,
    }
    words = (3, *range(5, 5 + CONFIG.latents), 4, 9)
    poisoned = {**picture, "latents": torch.full_like(latents, math.nan)}
    with static_engine(network, slots=4, background=background) as engine:
        tickets = [
            engine.submit(each)
            for each in (
                request(7, 8, 9),
                request(*words, **picture, filters=(Nothing(),)),
                request(*words, **poisoned),
                request(10, filters=(NoRepeat(1), Never(range(5, TEXT.vocabulary)))),
            )
        ]
        (plain,) = collect(
            generate(
                network,
                Prompts(torch.tensor([[BOS, 7, 8, 9]]), torch.zeros(1, 4, dtype=torch.bool)),
                options=Options(max_new_tokens=12, min_new_tokens=12),
                **RULES,
            )
        )
        same(tickets[0].result(), plain)
        for ticket, message in zip(tickets[1:], ("no token is left", "not finite", "no token")):
            with pytest.raises(EngineError, match=message):
                ticket.result()
        assert engine.statistics().failed == 3


@given(st.data())
def test_the_device_takes_what_the_filters_leave(data):
    static, row = _FILTERED
    tags = replace(TAGS, locations=range(80, 80 + 1023))
    grammar = Grammar(
        tags=tags,
        stops={EOS},
        limit=data.draw(st.integers(5, 30)),
        max_boxes=data.draw(st.sampled_from([None, 1, 2])),
        more_above=data.draw(st.sampled_from([None, 0.5])),
        min_presence=data.draw(st.sampled_from([None, 0.2])),
    )
    ids = st.sampled_from([7, 8, 60, 61, 62, 63, 64, 80, 81, 112, 400, 1102])
    row = replace(
        row,
        prompt=tuple(data.draw(st.lists(ids, min_size=1, max_size=9))),
        filters=(
            Never({PAD}),
            NotYet({EOS, 9}, data.draw(st.integers(0, 3))),
            NoRepeat(data.draw(st.integers(1, 3))),
            *data.draw(st.sampled_from([(), (grammar,)])),
        ),
    )
    answer = data.draw(st.lists(ids, max_size=4))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    logits = torch.randn(TEXT.vocabulary, generator=random) * 3
    rule = static._rule(Place(row, answer, LOCATIONS, only_locations=False))
    if rule is None:  # only where it depends on the logits
        assert grammar.more_above is not None or grammar.min_presence is not None
        return
    allowed = logits.masked_fill(static._masks[rule[0]], -math.inf)
    allowed[rule[1:]] = -math.inf
    id, logprob, _, sound = chosen(logits[None], allowed[None].clone(), LOCATIONS)[0].tolist()
    plain = row.allowed(logits, answer)
    if sound:
        assert id == plain.argmax()
        assert logprob == pytest.approx(float(logits.log_softmax(0)[int(id)]), abs=1e-4)
    else:
        assert allowed.max() == -math.inf


def _filtered():
    request = Request(prompt=(BOS,), **RULES)
    memory = Slots(TEXT, 1, device=CPU, dtype=torch.float32, spare=1)
    return Static(loud_network(CONFIG), memory), request.row(0, CONFIG)


_FILTERED = _filtered()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_rounding_leaves_room_and_few_shapes(size, most):
    size = min(size, most)
    assert size <= rounded_rows(size, most) <= min(2 * size - 1, most) or size == 1
    length = rounded_length(size, most)
    assert size <= length <= min(max(2 * LENGTH, size * 3 // 2), most)
    assert length == most or length % LENGTH == 0


def test_few_lengths_are_recorded_for_the_longest_prompts():
    lengths = {rounded_length(tokens, 2048) for tokens in range(1, 2049)}
    assert len(lengths) <= 12
    assert min(lengths) == LENGTH
    assert max(lengths) == 2048


def test_numbers_that_are_none_are_not_sound():
    logits = torch.zeros(4, 9)
    logits[1, 3], logits[2, 3], logits[3, 3] = math.nan, math.inf, -math.inf
    assert chosen(logits, logits.clone(), range(3, 5))[:, -1].tolist() == [1, 0, 0, 0]
    assert chosen(logits, torch.full_like(logits, -math.inf), range(0))[:, -1].tolist() == [0] * 4


def test_a_quantised_network_takes_the_ordinary_road(network):
    quantised = quantise(loud_network(CONFIG), "int8")
    assert suits(network)
    assert not suits(quantised)
    with pytest.raises(ConfigError, match="quantised; load it without quantize"):
        Engine(quantised, static=True)
    assert len(Engine(quantised, background=False).run([Request(prompt=(BOS, 9), **RULES)])) == 1


def test_a_step_reads_every_matrix_once(network):
    blocks = sum(p.numel() for p in network.decoder.layers.parameters())
    words = network.decoder.words.weight.numel()
    assert OneToken(network).step_bytes == 4 * (blocks + words)


def test_what_is_recorded_is_replayed_with_what_the_inputs_hold_then(network, monkeypatch):
    """A stand-in for a GPU: recording is running, and a replay is that same run."""
    held = []

    class Stream:
        def __init__(self, device=None):
            pass

        wait_stream = synchronize = lambda *_: None

    class Graph:
        def replay(self):
            held[0]()

    true_signature = inspect.signature(torch.cuda.graph.__init__)

    def graph(*how, **more):
        true_signature.bind(None, *how, **more)
        return nullcontext()

    static = Static(network, memory_of(3))
    plain = Static(network, memory_of(3))
    static._can_record = True
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    compute = static._compute
    held.append(lambda: compute(2, 64, LOCATIONS))
    for place in range(5, 9):
        for each in (static, plain):
            told(each, 0, 100 + place, place + 2, place)
            told(each, 1, 200 + place, place + 3, place + 1)
            each.run(2, 64, LOCATIONS)
        assert torch.equal(static._said, plain._said)
    assert static.recorded == 1


def test_where_nothing_can_be_recorded_the_step_runs_all_the_same(network, monkeypatch, caplog):
    static = Static(network, memory_of(3))

    def graph(*_, **__):
        raise RuntimeError("not here")

    static._can_record = True
    monkeypatch.setattr(torch.cuda, "Stream", lambda *_: SimpleNamespace(wait_stream=id))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: SimpleNamespace(wait_stream=id))
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    told(static, 0, 100, 7, 5)
    static.run(1, 64, LOCATIONS)
    assert "runs slowly" in caplog.text
    assert static._said[0].tolist()[-1] == 1
    assert static.recorded == 0


BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(("kind", "most", "size"), [("int8", 0.02, 0.56), ("int4", 0.2, 0.35)])
def test_the_step_runs_with_matrices_in_few_bits(monkeypatch, kind, most, size):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from few_bits import PACKS

    text = replace(TEXT, width=128, heads=4, ffn_width=256)
    network = loud_network(replace(CONFIG, text=text), noise=0.05).to(torch.bfloat16)
    memory = Slots(text, 3, device=CPU, dtype=torch.bfloat16, spare=1)
    memory.reserve(2, 64)
    exact, rough = Static(network, memory), Static(network, memory, pack=PACKS[kind])
    for each in (exact, rough):
        for row in range(3):
            told(each, row, 100 + row, 9 + row, 7 + row)
        each.run(3, 64, LOCATIONS)
    apart = (rough._logits - exact._logits).square().mean().sqrt() / exact._logits.std()
    assert 0 < apart < most
    words = network.decoder.words.weight.nbytes
    assert rough.step.step_bytes - words < size * (exact.step.step_bytes - words)


def test_the_gpu_benchmark_runs_on_any_machine(tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", "--tiny", "--few-bits", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["tiny"]
    assert set(found["dropped"]) <= {"peer"}
    for road in ("ordinary_in_company", "static_in_company", "static_alone"):
        assert found["right_fp32"][road]["equal_answers"] == found["right_fp32"]["answers"]
        assert found["right_fp32"][road]["logprobs_apart_at_most"] < 1e-4
    assert found["peer_agreement"]["equal_up_to_the_first_difference"] > 0
    assert {"first_token", "decode_1", "decode_2", "phrases", "captions"} <= set(found["ratios"])
    assert {"bare_steps", "bare_steps_int8", "bare_steps_int4", "profile"} <= set(found)


def test_without_a_gpu_the_benchmark_says_what_it_needs(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here: it would be measured")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--tiny runs anywhere" in done.stderr
    assert not list(tmp_path.iterdir())
