"""Several answers to each prompt at a time: the house's one search, over a whole batch.

The rows of a prompt stay as many as there are beams, whatever came to an end, as in the reference;
so scores, states and users' callables see what they see there.

Shapes: B prompts, R = B x beams rows, C candidates, T tokens so far, W vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kosmos2.engine.beam import Candidate, Contest
from kosmos2.errors import EngineError
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.hf.generation.search import Search, check_finite, dead_end


class Path(NamedTuple):
    """An answer so far, and of each of its tokens the row of the batch that it followed."""

    ids: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()


class Found(NamedTuple):
    """The best answers to each prompt, best first."""

    ids: Int[Tensor, "B T"]
    scores: Tensor
    rows: Int[Tensor, "B T"]  # -1 where an answer is over


def write_beams(search: Search, config: GenerationConfig) -> Found:
    """The best `num_return_sequences` answers to each prompt.

    Raises:
        EngineError: rules that leave fewer of them.
    """
    reader, record, beams = search.reader, search.reader.record, search.copies
    ids, seen = search.prompt.given, search.prompt.seen
    given, before = ids, seen
    contests = [
        Contest(
            Path(),
            beams=beams,
            limit=search.stopping.limit,
            length_penalty=config.length_penalty,
            early_stopping=config.early_stopping,
        )
        for _ in range(len(ids) // beams)
    ]
    logits, length = reader.start(beams), 0
    while True:
        check_finite(logits, length)
        scores = search.rules(ids, seen, logits.log_softmax(-1))
        if record.logits is not None:
            record.logits.append(logits)
        if record.scores is not None:
            record.scores.append(scores)
        blocks = [
            block[: len(contest.paths)]
            for contest, block in zip(contests, scores.cpu().split(beams), strict=True)
        ]
        likeliest = [
            contest.candidates(block, len(search.stopping.ends))
            for contest, block in zip(contests, blocks, strict=True)
        ]
        length += 1
        filler = (search.pad,) * length  # of prompts whose search is over
        ends = _ends(search, ids, likeliest, length)
        parents: list[int] = []
        answers: list[tuple[int, ...]] = []
        for prompt, (contest, candidates) in enumerate(zip(contests, likeliest, strict=True)):
            first, paths = prompt * beams, contest.paths

            def grown(candidate: Candidate, first: int = first, paths: list[Path] = paths) -> Path:
                path = paths[candidate.parent]
                return Path((*path.ids, candidate.id), (*path.rows, first + candidate.parent))

            if not candidates and not contest.ended:
                raise dead_end(prompt, length - 1)
            running = contest.settle(candidates, ends[prompt], grown)
            # Places that no path needs any more are held by whichever ended.
            over = [candidate for candidate, end in zip(candidates, ends[prompt]) if end]
            held = [*running, *over, *[Candidate(0, search.pad, 0.0)] * beams][:beams]
            parents += [first + candidate.parent for candidate in held]
            answers += [grown(candidate).ids if paths else filler for candidate in held]
        if all(contest.over for contest in contests):
            return _best(search, contests, config.num_return_sequences)
        reader.pick(torch.tensor(parents))
        written = torch.tensor(answers, device=ids.device)
        ids, seen = torch.cat([given, written], dim=1), torch.cat([before, written], dim=1)
        logits = reader.step(written[:, -1])


def _ends(
    search: Search, ids: Int[Tensor, "R T"], likeliest: list[list[Candidate]], length: int
) -> list[list[bool]]:
    """Which candidates are at their end; users' callables are asked about all of them at once."""
    parents = [
        prompt * search.copies + candidate.parent
        for prompt, candidates in enumerate(likeliest)
        for candidate in candidates
    ]
    chosen = [candidate.id for candidates in likeliest for candidate in candidates]
    if not parents:
        return [[] for _ in likeliest]
    written = torch.tensor(chosen, device=ids.device)[:, None]
    sequences = torch.cat([ids[torch.tensor(parents, device=ids.device)], written], dim=1)
    ended: Bool[Tensor, " C"] = search.stopping(sequences, length, search.reader.record.scores)
    sizes = [len(candidates) for candidates in likeliest]
    return [block.tolist() for block in ended.split(sizes)]


def _best(search: Search, contests: list[Contest[Path]], wanted: int) -> Found:
    for prompt, contest in enumerate(contests):
        if len(contest.ended) < wanted:
            raise EngineError(
                f"prompt {prompt}: {len(contest.ended)} answers came to an end and {wanted} are "
                "wanted; lower num_return_sequences, or loosen the rules"
            )
    best = [scored for contest in contests for scored in contest.ended[:wanted]]
    longest = max(len(path.ids) for _, path in best)
    given = search.prompt.given
    device = given.device

    def filled(rows: list[tuple[int, ...]], filler: int) -> Tensor:
        return torch.tensor(
            [[*row, *[filler] * (longest - len(row))] for row in rows], device=device
        )

    prompts = given[:: search.copies].repeat_interleave(wanted, dim=0)
    answers = filled([path.ids for _, path in best], search.pad)
    return Found(
        ids=torch.cat([prompts, answers], dim=1),
        scores=torch.tensor([score for score, _ in best], device=device),
        rows=filled([path.rows for _, path in best], -1).int(),
    )
