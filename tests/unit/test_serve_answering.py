"""The model behind an asynchronous door: it says what the object says, and each bears its own."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")

from kosmos2 import Entity, Kosmos2, Text
from kosmos2.config import Config
from kosmos2.engine import Cancelled, Token
from kosmos2.grounder import tasks
from kosmos2.options import Options
from kosmos2.serve.answering import Answered, Answering, Answers, Usage
from kosmos2.serve.engines import Apart, slots_of
from kosmos2.serve.failures import Refused
from kosmos2.serve.keys import Caller
from kosmos2.serve.metrics import Metrics
from kosmos2.serve.pictures import Decoded
from kosmos2.serve.settings import Limits
from kosmos2.train import vocabulary
from networks import loud_network

SHORT = Options(max_new_tokens=24)
LONG = Options(max_new_tokens=200, min_new_tokens=200)
ANNA, BERT = Caller("anna", "req_1"), Caller("bert", "req_2")
WAIT_S = 60.0


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    tokenizer = vocabulary.build()
    config = Config.tiny(vocabulary=tokenizer.size)
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, positions=300))
    return Kosmos2(loud_network(config, 3), tokenizer, name="random")


Run = Callable[..., Any]


@pytest.fixture(params=["inside", "apart"])
def run(request: pytest.FixtureRequest) -> Run:
    """Do something with a fresh `Answering`, and see that it ends with nothing left."""

    def run(model: Kosmos2, work: Callable[[Answering], Awaitable[Any]], **limits: Any) -> Any:
        async def alone() -> Any:
            answering = Answering(model, Limits(**limits), Metrics(), engine=engine)
            answering.start()
            try:
                async with asyncio.timeout(WAIT_S):
                    return await work(answering)
            finally:
                await answering.close()
                assert answering.engine.running == 0

        slots = slots_of(Limits(**limits).running)
        # Before there is an event loop, as in `kosmos2 serve`.
        engine = Apart(model, slots=slots, threads=1) if request.param == "apart" else None
        return asyncio.run(alone())

    return run


def decoded(model: Kosmos2, seed: int = 0) -> Decoded:
    side = model.config.vision.image_size
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Decoded(width=60, height=40, rotated=0, digest=f"picture {seed}", pixels=pixels)


def count(answering: Answering, name: str, **labels: str) -> float:
    value = answering.metrics.registry.get_sample_value(f"kosmos2_{name}", labels)
    assert value is not None, name
    return value


async def captions(answering: Answering, seed: int = 0, caller: Caller = ANNA) -> list[Any]:
    (seen,) = await answering.look([decoded(answering.model, seed)], caller)
    return [
        tasks.caption(seen, detailed=False, grounded=True),
        tasks.ask(seen, "What is this?", None, grounded=True),
        *tasks.ground(seen, ["a dog"]),
    ]


def test_answers_are_those_of_the_object(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        asks = await captions(answering)
        expected = model.answer(asks, SHORT)
        async with answering.answer(asks, SHORT, caller=ANNA) as answers:
            found = await answers.whole()
        assert [one.grounded for one in found] == expected
        assert [one.grounded.picture for one in found] == [ask.seen[0].picture for ask in asks]
        assert [len(one.tokens) for one in found] == [one.grounded.tokens for one in found]

    run(model, work)


def test_words_and_entities_come_one_by_one_and_make_the_whole(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        asks = await captions(answering)
        async with answering.answer(asks, SHORT, caller=ANNA, with_tokens=True) as answers:
            said = [each async for each in answers]
        for at in range(len(asks)):
            mine = [what for whose, what in said if whose == at]
            whole = mine.pop()
            assert isinstance(whole, Answered)
            words = [what.text for what in mine if isinstance(what, Text)]
            assert "".join(words) == whole.grounded.text
            entities = [what for what in mine if isinstance(what, Entity)]
            assert tuple(entities) == whole.grounded.entities
            assert tuple(what for what in mine if isinstance(what, Token)) == whole.tokens

    run(model, work)


def test_usage_counts_pictures_and_what_was_known(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        (ask, *_) = await captions(answering)
        length = len(model.runner.rules.request(ask, SHORT, weights=0).prompt)
        usages = []
        for caller in (ANNA, ANNA, BERT):
            async with answering.answer([ask], SHORT, caller=caller) as answers:
                usages.append((await answers.whole())[0].usage)
        first, again, stranger = usages
        image = model.config.latents
        assert (first.prompt, first.image, first.cached) == (length, image, 0)
        assert again.cached == image + 3  # <s>, <image>, </image>
        assert stranger.cached == 0  # what one key asked is nothing to another
        assert (first + again).prompt == 2 * length
        assert Usage() + first == first
        assert count(answering, "prefix_cache_hits_total") == 1

    run(model, work)


def test_a_picture_is_looked_at_once_for_each_key(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        pictures = [decoded(model, seed) for seed in (0, 1, 0)]
        first, _, third = await answering.look(pictures, ANNA)
        assert first.latents is third.latents
        assert count(answering, "image_cache_misses_total") == 2
        (again,) = await answering.look([decoded(model, 1)], ANNA)
        assert again.picture.digest == "picture 1"
        assert count(answering, "image_cache_misses_total") == 2
        await answering.look([decoded(model, 1)], BERT)
        assert count(answering, "image_cache_misses_total") == 3
        assert count(answering, "image_cache_hits_total") == 2

    run(model, work)


def test_leaving_the_context_frees_the_slots(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        asks = await captions(answering)
        async with answering.answer(asks, LONG, caller=ANNA) as answers:
            async for _ in answers:
                break
        assert all(isinstance(ticket.error, Cancelled) for ticket in answers.tickets)
        while answering.engine.running:
            await asyncio.sleep(0)
        async with answering.answer(asks, SHORT, caller=ANNA) as answers:
            await answers.whole()

    run(model, work)


def test_cancelling_who_waits_frees_the_slot(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        (ask, *_) = await captions(answering)
        held: list[Answers] = []

        async def waits() -> None:
            async with answering.answer([ask], LONG, caller=ANNA) as answers:
                held.append(answers)
                await answers.whole()

        task = asyncio.create_task(waits())
        while not (held and held[0].tickets):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert held[0].tickets[0].done

    run(model, work)


def test_numbers_that_are_none_cost_their_own_request_only(
    run: Run, model: Kosmos2, caplog
) -> None:
    async def work(answering: Answering) -> None:
        good, bad = (await captions(answering))[:2]
        (seen,) = bad.seen
        broken = dataclasses.replace(
            seen,
            latents=seen.latents * math.nan,
            picture=dataclasses.replace(seen.picture, digest="broken"),
        )
        bad = dataclasses.replace(bad, seen=(broken,))
        expected = model.answer([good], SHORT)

        async def ask(one: Any) -> Any:
            async with answering.answer([one], SHORT, caller=ANNA) as answers:
                return [each.grounded for each in await answers.whole()]

        found, failed = await asyncio.gather(ask(good), ask(bad), return_exceptions=True)
        assert found == expected
        assert isinstance(failed, Refused)
        assert failed.code == "generation_failed"
        assert count(answering, "answers_total", finish="generation_failed") == 1

    run(model, work)
    assert "req_1" in caplog.text
    assert "not finite" not in caplog.text  # an error's own words stay out of the log


def test_an_answer_that_takes_too_long_is_told_so(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        (ask, *_) = await captions(answering)
        with pytest.raises(Refused) as refused:
            async with answering.answer([ask], LONG, caller=ANNA, deadline_s=1e-4) as answers:
                await answers.whole()
        assert refused.value.code == "deadline_exceeded"

    run(model, work)


@pytest.mark.parametrize("phrases", [["dog " * 400], ["a dog"] * 5 + ["dog " * 400]])
def test_a_prompt_that_is_too_long_is_refused_as_a_whole(run: Run, model: Kosmos2, phrases) -> None:
    async def work(answering: Answering) -> None:
        (seen,) = await answering.look([decoded(model)], ANNA)
        answers = answering.answer(tasks.ground(seen, phrases), SHORT, caller=ANNA)
        with pytest.raises(Refused) as refused:
            await answers.start()
        assert refused.value.code == "context_length_exceeded"
        assert not answers.tickets

    run(model, work)


def test_many_asks_are_prepared_elsewhere_and_come_in_order(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        (seen,) = await answering.look([decoded(model)], ANNA)
        phrases = [f"thing {number}" for number in range(20)]
        asks = tasks.ground(seen, phrases)
        async with answering.answer(asks, SHORT, caller=ANNA) as answers:
            found = [one.grounded for one in await answers.whole()]
        assert found == model.answer(asks, SHORT)

    run(model, work)


def test_each_ask_may_have_its_own_options(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        (ask, *_) = await captions(answering)
        lengths = [Options(max_new_tokens=n, min_new_tokens=n) for n in (3, 9)]
        async with answering.answer([ask, ask], lengths, caller=ANNA) as answers:
            found = await answers.whole()
        assert [one.usage.completion for one in found] == [3, 9]

    run(model, work)


def test_a_stop_text_ends_the_answer_and_its_slot(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        (seen,) = await answering.look([decoded(model)], ANNA)
        ask = tasks.caption(seen, detailed=True, grounded=False)
        (plain,) = model.answer([ask], LONG)
        stop = plain.text.split()[2]  # a word: between two there may be tags
        options = dataclasses.replace(LONG, stop=(stop,))
        async with answering.answer([ask], options, caller=ANNA) as answers:
            (found,) = await answers.whole()
        assert stop not in found.grounded.text
        assert found.grounded == model.answer([ask], options)[0]
        assert answers.tickets[0].done

    run(model, work)


def test_phrases_are_located_as_the_object_does(run: Run, model: Kosmos2) -> None:
    async def work(answering: Answering) -> None:
        (seen,) = await answering.look([decoded(model)], ANNA)
        found = await answering.locate(seen, ["a dog", "a cat"], best=3)
        expected = model.locate(seen, ["a dog", "a cat"], best=3)
        assert [one.boxes for one in found] == [one.boxes for one in expected]
        with pytest.raises(Refused):
            await answering.locate(seen, [])

    run(model, work)


def test_when_the_engine_dies_everybody_is_told(model: Kosmos2, monkeypatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: told.set())

    async def work(answering: Answering) -> None:
        asks = await captions(answering)
        deaths: list[bool] = []
        answering.on_dead = lambda: deaths.append(True)

        def broken(*_: Any, **__: Any) -> None:
            raise SystemError("the thread cannot go on")

        monkeypatch.setattr(answering.engine.engine, "step", broken)
        monkeypatch.setattr(answering.engine.engine, "_fail", broken)
        async with answering.answer(asks, LONG, caller=ANNA) as answers:
            with pytest.raises(Refused) as refused:
                await answers.whole()
        assert refused.value.code == "engine_dead"
        assert answering.dead
        assert deaths == [True]
        with pytest.raises(Refused) as refused:
            await answering.answer(asks, SHORT, caller=ANNA).start()
        assert refused.value.code == "engine_dead"
        with pytest.raises(Refused) as refused:
            await answering.look([decoded(model, 7)], ANNA)
        assert refused.value.code == "engine_dead"
        monkeypatch.undo()

    async def alone() -> None:
        answering = Answering(model, Limits(), Metrics())
        answering.start()
        async with asyncio.timeout(WAIT_S):
            await work(answering)
        await answering.close()

    asyncio.run(alone())
    assert told.is_set()
