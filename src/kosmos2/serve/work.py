"""The way from a request for words to answers that are on their way, whatever the route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from fastapi import Request

from kosmos2.grounder import Located, Seen
from kosmos2.options import Options
from kosmos2.serve.answers import Answered, Answers, Usage
from kosmos2.serve.desk import Desk, while_connected
from kosmos2.serve.failures import Refused
from kosmos2.serve.keys import Caller
from kosmos2.serve.rendering import Manner
from kosmos2.serve.speech import Speech, Told

SEEDS = 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Answers on their way, and how they are to be written."""

    manner: Manner
    answers: Answers
    speeches: tuple[Speech, ...]  # one for each choice
    picture: Seen | None
    heat: tuple[Located, ...]
    latents: int  # tokens of a picture

    async def told(self) -> AsyncIterator[tuple[int, Told | None]]:
        """What can be told, each with its choice; None where a choice is at its end."""
        each = len(self.answers.asked) // len(self.speeches)
        async for at, said in self.answers:
            choice, ask = divmod(at, each)
            speech = self.speeches[choice]
            for one in speech.hear(ask, said):
                yield choice, one
            if isinstance(said, Answered) and speech.done:
                yield choice, None

    async def whole(self) -> None:
        """Wait for the end of all answers."""
        async with self.answers:
            async for _ in self.told():
                pass

    @property
    def usage(self) -> Usage:
        """Tokens read and written; a prompt counts once, however many choices it has."""
        written = sum(speech.usage.completion for speech in self.speeches)
        return replace(self.speeches[0].usage, completion=written)

    def usage_so_far(self, written: int) -> Usage:
        """The same on the way, when so many tokens have been told."""
        each = len(self.answers.asked) // len(self.speeches)
        tickets = self.answers.tickets[:each]
        pictures = sum(len(ask.seen) for ask, _ in self.answers.asked[:each])
        return Usage(
            prompt=sum(ticket.prompt for ticket in tickets),
            completion=written,
            cached=sum(ticket.reused for ticket in tickets),
            image=self.latents * pictures,
        )


async def begin(
    desk: Desk,
    caller: Caller,
    request: Request,
    manner: Manner,
    options: Options,
    *,
    choices: int = 1,
    with_tokens: bool = False,
) -> Work:
    """Look at the pictures and hand in what is asked.

    Raises:
        Refused: pictures or boxes that cannot be used, or more than can be asked at once.
    """
    errand = manner.errand
    if choices > desk.limits.choices:
        raise Refused("too_many", param="n")
    if len(options.stop) > desk.limits.stops:
        raise Refused("too_many", param="stop")
    if options.top_logprobs > desk.limits.top_logprobs:
        raise Refused("too_many", param="top_logprobs")

    async def start() -> Work:
        seen = await desk.see(errand.talk.pictures, caller) if errand.talk.pictures else []
        asks = errand.asks(seen)
        if len(asks) * choices > max(desk.limits.phrases, desk.limits.choices):
            raise Refused("too_many", param="n")
        heat: Sequence[Located] = ()
        if errand.wish.heatmap:
            heat = await desk.answering.locate(seen[-1], errand.phrases)
        answers = desk.answering.answer(
            asks * choices,
            [each for each in seeded(options, choices) for _ in asks],
            caller=caller,
            with_tokens=with_tokens,
        )
        return Work(
            manner=manner,
            answers=await answers.start(),
            speeches=tuple(Speech(len(asks), errand.phrases) for _ in range(choices)),
            picture=seen[-1] if seen else None,
            heat=tuple(heat),
            latents=desk.model.config.latents,
        )

    return await while_connected(request, start())


def seeded(options: Options, choices: int) -> list[Options]:
    """The options of each choice: each has a chance of its own."""
    if options.seed is None:
        return [options] * choices
    return [replace(options, seed=(options.seed + at) % SEEDS) for at in range(choices)]
