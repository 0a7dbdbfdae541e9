"""From a conversation to what the model is asked: a task, and the prompts of it.

KOSMOS-2 was taught no chat. A conversation is one text with pictures in it: earlier questions with
their answers, then the wording of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kosmos2 import prompts
from kosmos2.errors import PromptError
from kosmos2.grounder import Seen, tasks
from kosmos2.grounder.reading import Ask
from kosmos2.markup import GROUNDING, IMAGE, IMAGE_END, with_boxes
from kosmos2.prompts import PICTURE, Markup, Part, Prompt, Words
from kosmos2.serve import harnesses, wordings
from kosmos2.serve.conversation import Conversation
from kosmos2.serve.failures import Refused
from kosmos2.serve.questions import BOXES, Boxes
from kosmos2.serve.settings import Limits
from kosmos2.serve.wire.parts import GroundingWish, Task

UNREAD = "instructions (system and developer messages) were not read: the model follows none"
WORDS_UNREAD = "the words of the last message were not read: this task has a wording of its own"
TURNS_UNREAD = "what came before the last picture was not read: this task is about that one alone"

ALONE = ("ground", "describe")  # where boxes are is a matter of one picture, whatever was said


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """What is to be done about a conversation."""

    talk: Conversation
    wish: GroundingWish
    task: Task
    phrases: tuple[str, ...] = ()  # of a grounding
    format: str | None = None  # of `dialects.DIALECTS`
    warnings: tuple[str, ...] = ()

    def asks(self, seen: Sequence[Seen]) -> list[Ask]:
        """What the model is asked, about the conversation's pictures in their order.

        Raises:
            Refused: boxes that are none, or do not fit the words.
        """
        talk, wish = self.talk, self.wish
        last, pictures = talk.turns[-1], list(seen)
        reader = Boxes(wish.coords, pictures[-1] if pictures else None, talk.param)
        own: Sequence[Part] = [PICTURE] * len(last.pictures)
        match self.task:
            case "ground":
                return tasks.ground(pictures[-1], self.phrases)
            case "describe":
                each = [box for boxes in reader.beside(wish.boxes) for box in boxes]
                return [tasks.describe(pictures[-1], box, grounded=wish.enabled) for box in each]
            case "complete":
                ask = self._complete(reader)
            case "caption" | "detailed":
                detailed = self.task == "detailed"
                ask = tasks.caption(pictures[-1], detailed=detailed, grounded=wish.enabled)
            case _:
                beside = reader.beside(wish.boxes)
                prompt = reader.question(last.placed, beside, grounded=wish.enabled)
                own = own[prompt.images :]
                ask = Ask(prompt=prompt, seen=(), with_prompt=False, grammar=wish.enabled)
        context = [*self._history(pictures), *own]
        return [_after(context, replace(ask, seen=tuple(pictures)))]

    def _complete(self, reader: Boxes) -> Ask:
        """Words to go on from; only raw ones may hold tags."""
        words, wish = self.talk.turns[-1].words.strip(), self.wish
        if not wish.raw:
            opening = [Markup(GROUNDING)] if wish.enabled else []
            prompt = Prompt((*opening, Words(f" {words}")))
            return Ask(prompt=prompt, seen=(), with_prompt=True, grammar=wish.enabled)
        try:
            prompt = prompts.complete(with_boxes(words, reader.beside(wish.boxes)))
        except PromptError:
            raise Refused("prompt_invalid", param=BOXES) from None
        return Ask(prompt=prompt, seen=(), with_prompt=True, grammar=False)

    def _history(self, seen: Sequence[Seen]) -> list[Part]:
        """Earlier turns as the model would have read and written them."""
        parts: list[Part] = []
        done = 0
        for turn in self.talk.turns[:-1]:
            pictures = len(turn.pictures)
            done += pictures
            question: tuple[Part, ...] = ()
            if wordings.captioning(turn.words) is None:
                picture = seen[done - 1] if done else None
                reader = Boxes(self.wish.coords, picture, self.talk.param)
                prompt = reader.question(turn.placed, grounded=False)
                question, pictures = prompt.parts, pictures - prompt.images
            parts += [*[PICTURE] * pictures, *question]
            if answer := (turn.answer or "").strip():
                parts.append(Words(f" {answer}"))
        return parts


def errand(talk: Conversation, wish: GroundingWish, limits: Limits) -> Errand:
    """What is to be done; nothing has been looked at yet.

    Raises:
        Refused: no picture, words or boxes where they are needed, or too many of them.
    """
    talk.check(limits)
    words = talk.turns[-1].words.strip()
    harness = harnesses.recognise(words) if wish.task in ("auto", "ground") else None
    phrases = tuple(wish.phrases or (harness.phrases if harness else ()))
    task = _task(words, wish, phrases)
    if task == "ground" and not phrases and words:
        phrases = (words,)
    _check(task, wish, phrases, talk, limits)
    heard = task in ("ask", "complete") or words in phrases or (harness and not wish.phrases)
    unread = not heard and wordings.captioning(words) is None
    alone = task in ALONE and (len(talk.turns) > 1 or len(talk.pictures) > 1)
    return Errand(
        talk=talk,
        wish=wish,
        task=task,
        phrases=phrases if task == "ground" else (),
        format=wish.format or (harnesses.READ_AS if harness and not wish.phrases else None),
        warnings=(
            *[UNREAD] * talk.instructed,
            *[WORDS_UNREAD] * unread,
            *[TURNS_UNREAD] * alone,
        ),
    )


def _task(words: str, wish: GroundingWish, phrases: Sequence[str]) -> Task:
    """The task, where the request leaves it open."""
    if wish.task != "auto":
        return wish.task
    if phrases:
        return "ground"
    if wish.raw:
        return "complete"
    kind = wordings.captioning(words)
    if kind is None:
        return "ask"
    return "describe" if wish.boxes else kind


def _check(
    task: Task, wish: GroundingWish, phrases: Sequence[str], talk: Conversation, limits: Limits
) -> None:
    """Refuse what cannot be asked."""
    words = talk.turns[-1].words.strip()
    if not talk.pictures and task != "complete":
        raise Refused("image_missing", param=talk.param)
    if task == "ground" and not phrases:
        raise Refused("phrase_invalid", param="grounding.phrases")
    if task == "describe" and not wish.boxes:
        raise Refused("box_invalid", param=BOXES)
    if task in ("ask", "complete") and not words:
        raise Refused("prompt_invalid", param=talk.param)
    if wish.raw and task == "complete" and (IMAGE in words or IMAGE_END in words):
        raise Refused("prompt_invalid", param=talk.param)  # pictures have their places already
    if wish.heatmap and task != "ground":
        raise Refused("unsupported_value", param="grounding.heatmap")
    if len(phrases) > limits.phrases:
        raise Refused("too_many", param="grounding.phrases")
    if wish.boxes and len(wish.boxes) > limits.boxes:
        raise Refused("too_many", param=BOXES)


def _after(context: Sequence[Part], ask: Ask) -> Ask:
    """The ask with what came before it in front; pictures alone stand there anyway."""
    if all(part is PICTURE for part in context) and not ask.prompt.images:
        return ask
    prompt = Prompt((*context, *ask.prompt.parts))
    return replace(ask, prompt=prompt, context=len(context))
