"""Whether the GPU is right: the engine's roads against the plain loop, on the same requests."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from gpu_bench import Bench
from gpu_work import EOS, PAD, Alone, Work

from kosmos2.engine import Completion, Engine, Grammar, Request, collect, generate
from kosmos2.model import Network


def right(bench: Bench, network: Network, work: Work, dtype: str) -> dict[str, Any]:
    """Loop, ordinary road and fixed shapes on the same requests, alone and in company."""
    new, count = (6, 4) if bench.tiny else (24, 12)
    with torch.no_grad():
        latents = network.look(work.pixels[:3].to(bench.device))
    asked = []
    for n in range(count):
        ids = work.ids(3 + (7 * n) % 37, seed=n, phrase=n % 4 == 1)
        more: dict[str, Any] = {"no_repeat_ngram_size": (0, 3)[n % 2]}
        if n % 4 == 1:
            more["filters"] = (Grammar(tags=work.tags, stops=frozenset({EOS}), limit=new),)
        asked.append(work.request(ids, latents[n % 3][None], new, **more))
    plain = [looped(network, request) for request in asked]
    found: dict[str, Any] = {
        "answers": count,
        "tokens": count * new,
        "different_tokens": len({id for answer in plain for id in answer.ids}),
    }
    for name, static, slots in (
        ("ordinary_in_company", False, 8),
        ("static_in_company", True, 8),
        ("static_alone", True, 1),
    ):
        with Engine(network, static=static, slots=slots, background=False) as engine:
            answers = engine.run(asked)
            recorded = engine._steps.static.recorded if engine._steps.static else 0
        found[name] = {**agreement(answers, plain), "recorded_steps": recorded}
    found["weights"] = dtype
    return found


def looped(network: Network, request: Request) -> Completion:
    """The plain loop's answer."""
    alone = Alone(
        torch.tensor([request.prompt], device=network.device),
        torch.tensor([request.slots], device=network.device),
    )
    (answer,) = collect(
        generate(
            network,
            alone,
            options=request.options,
            eos=EOS,
            pad=PAD,
            locations=request.locations,
            latents=request.latents,
            no_repeat_ngram_size=request.no_repeat_ngram_size,
            filters=request.filters,
        )
    )
    return answer


def agreement(answers: list[Completion], plain: list[Completion]) -> dict[str, Any]:
    """How much of the answers is the same, up to the first token that is not."""
    same, apart = [], [0.0]
    for ours, theirs in zip(answers, plain, strict=True):
        pairs = list(zip(ours.ids, theirs.ids))
        same.append(sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        apart += [abs(a - b) for a, b in zip(ours.logprobs[: same[-1]], theirs.logprobs)]
    return {
        "equal_answers": sum(ours.ids == theirs.ids for ours, theirs in zip(answers, plain)),
        "equal_share": sum(same) / sum(len(answer.ids) for answer in plain),
        "logprobs_apart_at_most": max(apart),
    }
