"""What the released weights are known to say: the check that a copy of them is whole and well read.

Ids, scores and texts come from two places. The ids and scores were published in the reference
library's tests, for the picture after a round through JPEG. The texts are those of the model's own
card, for the picture as it is. A random network of the same sizes agrees with none of them.

Shapes: T tokens of a prompt and its answer, W words in the vocabulary.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kosmos2.config import Config
from kosmos2.markup import reference_extract

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from kosmos2.grounder import Kosmos2, Seen
    from kosmos2.images import Picture, Source

PICTURE = "snowman.png"  # beside the weights on the hub
LENGTH = 128  # tokens, as published
# The reference's own tests allow 1e-5 on one machine; another processor adds in another order.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Scores:
    """Logits from which one token of an answer was chosen: of a few ids in a row."""

    token: int  # of the answer; negative ones count from its end
    first_id: int
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One prompt in raw markup and what is known of its answer."""

    prompt: str
    markup: str  # prompt and answer, as the reference decodes them
    resaved: bool = False  # the picture went through JPEG first
    prompt_ids: tuple[int, ...] = ()  # after </image>
    ids: tuple[int, ...] = ()  # of the answer; none where only its text was published
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Golden:
    """All that is known of one set of weights."""

    config: Config
    parameters: int
    known: tuple[Known, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


_SNOWMAN = "<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object>"
_IT = _SNOWMAN.replace("a snowman", "It")
_CAMPFIRE = "<phrase> a campfire</phrase><object><patch_index_0643><patch_index_1009></object>"
_DETAILS = (
    "He is wearing<phrase> a hat</phrase><object><patch_index_0048><patch_index_0250></object>,"
    "<phrase> scarf</phrase><object><patch_index_0240><patch_index_0604></object>, and"
    "<phrase> gloves</phrase><object><patch_index_0400><patch_index_0532></object>, with"
    "<phrase> a pot</phrase><object><patch_index_0610><patch_index_0872></object> nearby and"
    "<phrase> a cup</phrase><object><patch_index_0796><patch_index_1023></object> nearby. The "
    "snowman appears to be enjoying the warmth of the fire, and it appears to have a warm and cozy "
    "atmosphere."
)

_PUBLISHED = (
    Known(
        prompt="<grounding>An image of",
        markup=f"<grounding> An image of{_SNOWMAN} warming himself by<phrase> a fire</phrase>"
        "<object><patch_index_0005><patch_index_0911></object>.",
        resaved=True,
        prompt_ids=(64012, 712, 1648, 9),
        ids=(
            64007, 10, 43867, 64008, 64009, 64057, 64876, 64010, 5950, 597, 32, 64007, 10, 646,
            64008, 64009, 64018, 64924, 64010, 4, 2,
        ),
        scores=(
            Scores(0, 0, (-1.5672581, -5.0074067, 4.3644886)),
            Scores(1, 0, (-2.1470170, -4.9663029, 4.5925593)),
            Scores(2, 0, (-0.9352351, -4.6882887, 6.2406130)),
            Scores(-3, 65034, (2.9916205, 2.4818206, 4.6465945)),
            Scores(-2, 65034, (-2.8381078, -2.9687185, -2.6926780)),
            Scores(-1, 65034, (-2.8909168, -3.2228589, -1.7056823)),
        ),
    ),
    Known(
        prompt="<grounding>Describe this image in detail:",
        markup="<grounding> Describe this image in detail: The image features a snowman sitting by"
        "<phrase> a campfire</phrase><object><patch_index_0005><patch_index_1007></object> in the "
        f"snow. {_DETAILS}",
        resaved=True,
        prompt_ids=(64012, 34645, 247, 38, 1648, 12, 3391, 55),
        ids=(
            24, 1648, 1338, 10, 43867, 1280, 32, 64007, 10, 30879, 64008, 64009, 64018, 65020,
            64010, 12, 5, 1842, 4, 71, 17, 1679, 64007, 10, 3958, 64008, 64009, 64061, 64263, 64010,
            6, 64007, 15719, 64008, 64009, 64253, 64617, 64010, 6, 8, 64007, 9626, 64008, 64009,
            64413, 64545, 64010, 6, 23, 64007, 10, 4363, 64008, 64009, 64623, 64885, 64010, 2255, 8,
            64007, 10, 3486, 64008, 64009, 64809, 65036, 64010, 1560, 2255, 4, 24, 43867, 1684, 7,
            27, 3774, 5, 10356, 9, 5, 646, 6, 8, 22, 1684, 7, 30, 10, 2007, 8, 16239, 4337, 4, 2,
        ),
        scores=(
            Scores(0, 0, (-0.9093571, -4.5783739, 5.9636097)),
            Scores(1, 0, (2.4521270, -4.0905981, 8.7386770)),
            Scores(2, 0, (-0.7624599, -4.7716589, 6.5762959)),
        ),
    ),
)  # fmt: skip

_CARD = (
    Known(
        prompt="<grounding><phrase> a snowman</phrase>",
        markup=f"<grounding>{_SNOWMAN} is warming himself by<phrase> the fire</phrase>"
        "<object><patch_index_0006><patch_index_0878></object>",
    ),
    Known(
        prompt="<grounding><phrase> a snowman next to a fire</phrase>",
        markup="<grounding><phrase> a snowman next to a fire</phrase>"
        "<object><patch_index_0044><patch_index_0863></object>",
    ),
    Known(
        prompt=f"<grounding>{_IT} is",
        markup=f"<grounding>{_IT} is snowman in a hat and scarf",
    ),
    Known(
        prompt="<grounding> Question: What is special about this image? Answer:",
        markup="<grounding> Question: What is special about this image? Answer: The image features"
        f"{_SNOWMAN} sitting by{_CAMPFIRE} in the snow.",
    ),
    Known(
        prompt="<grounding> Question: Where is<phrase> the fire</phrase><object><patch_index_0005>"
        "<patch_index_0911></object> next to? Answer:",
        markup="<grounding> Question: Where is<phrase> the fire</phrase><object><patch_index_0005>"
        "<patch_index_0911></object> next to? Answer: Near<phrase> the snowman</phrase><object>"
        "<patch_index_0044><patch_index_0863></object>.",
    ),
    Known(
        prompt="<grounding> An image of",
        markup=f"<grounding> An image of{_SNOWMAN} warming himself by{_CAMPFIRE}.",
    ),
    Known(
        prompt="<grounding> Describe this image in detail:",
        markup="<grounding> Describe this image in detail: The image features a snowman sitting by"
        "<phrase> a campfire</phrase><object><patch_index_0005><patch_index_1007></object> in the "
        f"snow. {_DETAILS}",
    ),
)

RELEASED = Golden(config=Config(), parameters=1_664_485_376, known=_PUBLISHED + _CARD)


def verify(
    model: Kosmos2,
    picture: Source,
    *,
    golden: Golden = RELEASED,
    on_check: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Hold a model against what is known; run it in float32.

    Args:
        model: what was loaded.
        picture: the hub's snowman.png.
        golden: what is known.
        on_check: called with each check as it is made; the whole takes minutes on a CPU.
    """
    from kosmos2.images import open_picture

    checks: list[Check] = []

    def note(name: str, passed: bool, detail: str) -> None:
        checks.append(Check(name, passed, detail))
        if on_check is not None:
            on_check(checks[-1])

    opened = open_picture(picture)
    count = sum(parameter.numel() for parameter in model.network.parameters())
    same_sizes = (model.config, count) == (golden.config, golden.parameters)
    note("sizes", same_sizes, f"{count:,} parameters, {golden.parameters:,} known")
    if not same_sizes:
        return checks  # ids of another vocabulary mean nothing here
    seen = model.see([opened, resave(opened)])
    for known in golden.known:
        one = seen[known.resaved]
        if known.ids:
            _check_ids(model, one, known, note)
        answer = model.complete(one, known.prompt, max_new_tokens=LENGTH)
        said, expected = answer.to_tuple(), reference_extract(known.markup)
        detail = f"says {said[0]!r}"
        if said != expected:
            detail = f"{detail} with {said[1]}, known is {expected[0]!r} with {expected[1]}"
        note(f"{known.prompt}: answer", said == expected, detail)
    return checks


def resave(picture: Picture) -> Picture:
    """The picture after a round through JPEG as Pillow writes it by default."""
    from kosmos2.images import open_picture

    file = io.BytesIO()
    picture.image.save(file, "JPEG")
    return open_picture(file.getvalue())


def _check_ids(
    model: Kosmos2, seen: Seen, known: Known, note: Callable[[str, bool, str], None]
) -> None:
    """Ids and scores: the model reads prompt and answer at once, and tells what it would say."""
    ids, logits = _read(model, seen, known)
    note(f"{known.prompt}: prompt", ids == known.prompt_ids, f"ids {list(ids)}")
    likeliest = tuple(logits.argmax(-1).tolist())
    wrong = [place for place, pair in enumerate(zip(likeliest, known.ids)) if pair[0] != pair[1]]
    first = f", the first at {wrong[0]}: {likeliest[wrong[0]]}" if wrong else ""
    note(
        f"{known.prompt}: tokens", not wrong, f"{len(wrong)} of {len(known.ids)} are others{first}"
    )
    if not known.scores:
        return
    apart = max(
        abs(float(logits[row.token, row.first_id + place]) - value)
        for row in known.scores
        for place, value in enumerate(row.values)
    )
    note(f"{known.prompt}: scores", apart <= TOLERANCE, f"at most {apart:.2g} apart")


def _read(model: Kosmos2, seen: Seen, known: Known) -> tuple[tuple[int, ...], Float[Tensor, "T W"]]:
    """The prompt's ids after the picture, and the logits that choose each token of the answer."""
    import torch

    from kosmos2.grounder import tasks

    inputs = model.runner.rules.inputs(tasks.complete(seen, known.prompt))
    inputs = inputs.to(model.network.device)
    answer = torch.tensor([known.ids[:-1]], device=inputs.ids.device)
    ids = torch.cat([inputs.ids, answer], dim=1)
    slots = torch.cat([inputs.slots, torch.zeros_like(answer, dtype=torch.bool)], dim=1)
    with torch.inference_mode():
        logits = model.network(ids, latents=seen.latents[None], slots=slots)[0]
    before = inputs.ids.shape[1]
    first = int(inputs.slots[0].nonzero().max()) + 2  # after the slots and </image>
    return tuple(inputs.ids[0, first:].tolist()), logits[before - 1 :]
