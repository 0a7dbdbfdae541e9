"""The verbs as asks, and the answers to several phrases as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from kosmos2 import prompts
from kosmos2.errors import PromptError
from kosmos2.grounder.reading import Ask
from kosmos2.grounder.seen import Seen
from kosmos2.markup import Entity, Problem
from kosmos2.result import Grounded

BETWEEN = ", "  # phrases of one answer


def caption(seen: Seen, *, detailed: bool, grounded: bool) -> Ask:
    """A brief caption goes on from its prompt, "An image of"; a detailed one stands alone."""
    prompt = prompts.caption(grounded=grounded, detailed=detailed)
    return Ask(prompt=prompt, seen=(seen,), with_prompt=not detailed, grammar=grounded)


def ground(seen: Seen, phrases: Sequence[str]) -> list[Ask]:
    """One ask for each phrase."""
    if not phrases:
        raise PromptError("no phrases to ground; give at least one")
    return [
        Ask(
            prompt=prompts.ground(phrase),
            seen=(seen,),
            with_prompt=True,
            grammar=True,
            one_object=True,
        )
        for phrase in phrases
    ]


def describe(seen: Seen, box: prompts.Boxes, *, grounded: bool) -> Ask:
    """The prompt ends in "is"; the answer is what comes after."""
    prompt = prompts.describe(box, grounded=grounded)  # type: ignore[arg-type]  # checked there
    return Ask(prompt=prompt, seen=(seen,), with_prompt=False, grammar=grounded)


def ask(seen: Seen, question: str, boxes: prompts.Boxes | None, *, grounded: bool) -> Ask:
    """The answer is what comes after "Answer:"."""
    prompt = prompts.ask(question, boxes=boxes, grounded=grounded)
    return Ask(prompt=prompt, seen=(seen,), with_prompt=False, grammar=grounded)


def complete(seen: Seen | None, prompt: str) -> Ask:
    """Raw markup is answered with the markup it began with, as the reference does."""
    pictures = () if seen is None else (seen,)
    return Ask(prompt=prompts.complete(prompt), seen=pictures, with_prompt=True, grammar=False)


def found(answer: Grounded, phrase: str) -> Grounded:
    """A phrase that was asked for is an entity of the answer even when it has no box."""
    if any(entity.start == 0 for entity in answer.entities):
        return answer
    phrase = phrase.strip()
    missing = Entity(phrase, 0, len(phrase))
    problems = tuple(p for p in answer.problems if p.kind != "phrase_without_box")
    return replace(answer, entities=(missing, *answer.entities), problems=problems)


def together(answers: Sequence[Grounded]) -> Grounded:
    """The answers to several phrases about one picture as one answer."""
    if len(answers) == 1:
        return answers[0]
    entities: list[Entity] = []
    problems: list[Problem] = []
    text = markup = 0
    for answer in answers:
        entities += [replace(e, start=e.start + text, end=e.end + text) for e in answer.entities]
        problems += [replace(p, at=p.at + markup) for p in answer.problems]
        text += len(answer.text) + len(BETWEEN)
        markup += len(answer.markup) + len(BETWEEN)
    assert all(one.start <= other.start for one, other in pairwise(entities))
    return replace(
        answers[0],
        text=BETWEEN.join(answer.text for answer in answers),
        entities=tuple(entities),
        problems=tuple(problems),
        markup=BETWEEN.join(answer.markup for answer in answers),
        prompt=BETWEEN.join(answer.prompt for answer in answers),
        finish="length" if any(a.finish == "length" for a in answers) else "stop",
        tokens=sum(answer.tokens for answer in answers),
        forced=sum(answer.forced for answer in answers),
    )
