"""Examples to learn from: prompts and answers with their boxes, as text and as ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kosmos2.errors import PromptError
from kosmos2.hf.bboxes import insert_boxes, phrase_ends
from kosmos2.markup import PHRASE, PHRASE_END, TAG
from kosmos2.tokenizer import Tokenizer


def with_boxes(
    prompts: str | Sequence[str], answers: Sequence[str], bboxes: Sequence[Any] | None
) -> list[tuple[str, str]]:
    """Pairs of prompt and answer with their boxes written in.

    Args:
        prompts: what is asked, the same for all or one for each answer.
        answers: what should be said.
        bboxes: for each pair a list with one element for each phrase, the prompt's first.

    Raises:
        PromptError: lists of different lengths, or boxes that do not fit the phrases.
    """
    if isinstance(answers, str):
        raise PromptError("answers is one text; give a list, as in answers=[answer]")
    if isinstance(prompts, str):
        prompts = [prompts] * len(answers)
    boxes = [None] * len(answers) if bboxes is None else bboxes
    if not len(prompts) == len(answers) == len(boxes) or not answers:
        raise PromptError(
            f"there are {len(prompts)} prompts, {len(answers)} answers and {len(boxes)} lists of "
            "boxes; give as many of each, and at least one"
        )
    pairs = []
    for number, (prompt, answer, own) in enumerate(zip(prompts, answers, boxes)):
        place = f"bboxes[{number}]"
        first = len(phrase_ends(prompt))
        phrases = first + len(phrase_ends(answer))
        if own and len(own) != phrases:
            raise PromptError(
                f"{place} has {len(own)} elements for {phrases} phrases, {first} of them in the "
                f"prompt; give one for each {PHRASE}…{PHRASE_END} of prompt and answer"
            )
        own = own or []
        asked = insert_boxes(prompt.strip(), own[:first], place)
        pairs.append((asked, insert_boxes(answer, own[first:], place)))
    return pairs


def answer_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """An answer as the model should write it, `</s>` at its end.

    The tokenizer puts a space before every word after a tag; the model writes none before the full
    stop in `</object>.`, so the space that stands alone there is left out.

    Raises:
        PromptError: there is no answer in the text.
    """
    ids: list[int] = []
    done = 0
    for tag in TAG.finditer(text):
        ids += _words(text[done : tag.start()], tokenizer, after_tag=done > 0)
        ids += tokenizer.encode(tag[0])
        done = tag.end()
    ids += _words(text[done:], tokenizer, after_tag=done > 0)
    if not ids:
        raise PromptError(f"the answer {text!r} is empty; give words, or leave the example out")
    return [*ids, tokenizer.eos]


def _words(text: str, tokenizer: Tokenizer, *, after_tag: bool) -> list[int]:
    ids = tokenizer.encode(text)
    joined = after_tag and text[:1].strip() != ""
    return ids[1:] if joined and tokenizer.decode(ids[:1]) == "" else ids
