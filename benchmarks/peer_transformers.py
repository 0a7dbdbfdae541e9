"""The general-purpose library, as its users run it: fp32, sdpa, `generate`.

Two more ways are tried: `static`, its cache of fixed size, and `compiled`, its decoder through
torch.compile for any length.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch
import transformers
from peer import Unable
from torch import Tensor
from transformers import Kosmos2ForConditionalGeneration, StoppingCriteria, StoppingCriteriaList
from workload import Ask, World


class _Watch(StoppingCriteria):
    """A stopping rule that never stops and looks at the clock after every token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        self.times.append(time.perf_counter())
        return torch.zeros(len(ids), dtype=torch.bool)


class Peer:
    """One model, one way to run it."""

    def __init__(self, folder: str, world: World, way: str) -> None:
        if way not in ("", "static", "compiled"):
            raise Unable(f"there is no way {way!r} to run transformers")
        self.world = world
        self.model = Kosmos2ForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        self.model.text_model.generation_config.no_repeat_ngram_size = 0
        self.how = {"cache_implementation": "static"} if way == "static" else {}
        if way == "compiled":
            self.model.text_model.compile(dynamic=True)
        self._seen: dict[int, Tensor] = {}

    def facts(self) -> dict[str, Any]:
        """What is run, and the bytes that every token has to read."""
        weights = list(self.model.text_model.parameters())  # the output layer is the embedding
        return {
            "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
            "threads": torch.get_num_threads(),
            "step_bytes": sum(weight.nbytes for weight in weights),
        }

    def first(self, asks: list[Ask]) -> dict[str, Any]:
        """From pixels to the first token of one ask."""
        pixels = self._pixels(asks)
        begun = time.perf_counter()
        times, tokens = self._generate(asks, pixels)
        return {"seconds": times[0] - begun, "tokens": tokens}

    def decode(self, asks: list[Ask]) -> dict[str, Any]:
        """The seconds between tokens, once the prompts are read; one picture, seen before."""
        (picture,) = {ask.picture for ask in asks}
        if picture not in self._seen:
            self._seen[picture] = self._look(self._pixels(asks[:1]))
        latents = self._seen[picture].repeat(len(asks), 1, 1)
        times, tokens = self._generate(asks, None, latents)
        steps = [after - before for before, after in pairwise(times)]
        return {"steps": steps, "tokens": tokens}

    def phrases(self, asks: list[Ask]) -> dict[str, Any]:
        """A call for each phrase: there is no other way to ask for exactly these."""
        pixels = self._pixels(asks[:1])
        begun = time.perf_counter()
        tokens = [self._generate([ask], pixels)[1][0] for ask in asks]
        return {"seconds": time.perf_counter() - begun, "tokens": tokens}

    def captions(self, asks: list[Ask], batch: int) -> dict[str, Any]:
        """All of them, so many at once."""
        pixels = self._pixels(asks)
        tokens: list[list[int]] = []
        begun = time.perf_counter()
        for at in range(0, len(asks), batch):
            part = slice(at, at + batch)
            tokens += self._generate(asks[part], pixels[part])[1]
        return {"seconds": time.perf_counter() - begun, "tokens": tokens}

    def arrivals(self, asks: list[Ask], at: list[float]) -> dict[str, Any]:
        """One by one, as they come."""
        pixels = self._pixels(asks)
        first, done, tokens = [], [], []
        begun = time.perf_counter()
        for number, (ask, arrival) in enumerate(zip(asks, at, strict=True)):
            time.sleep(max(begun + arrival - time.perf_counter(), 0.0))
            times, answers = self._generate([ask], pixels[number : number + 1])
            first.append(times[0] - begun - arrival)
            done.append(times[-1] - begun)
            tokens += answers
        return {"first": first, "seconds": max(done), "tokens": tokens}

    def _pixels(self, asks: list[Ask]) -> Tensor:
        return torch.stack([torch.from_numpy(self.world.pixels(ask.picture)) for ask in asks])

    @torch.no_grad()
    def _look(self, pixels: Tensor) -> Tensor:
        """What `generate` computes from pixels before it reads."""
        vectors = self.model.vision_model(pixels)[0]
        normed = self.model.vision_model.model.post_layernorm(vectors)
        return self.model.image_to_text_projection(torch.nn.functional.normalize(normed, dim=-1))[0]

    def _generate(
        self, asks: list[Ask], pixels: Tensor | None, latents: Tensor | None = None
    ) -> tuple[list[float], list[list[int]]]:
        """One call for asks of one length: when each token came, and which."""
        ids = torch.tensor([self.world.ids(ask) for ask in asks])
        (new,) = {ask.new for ask in asks}
        watch = _Watch()
        answer = self.model.generate(
            pixel_values=pixels,
            image_embeds=latents,
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            image_embeds_position_mask=torch.tensor([self.world.slots(ask) for ask in asks]),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([watch]),
            **self.how,
        )
        return watch.times, answer[:, ids.shape[1] :].tolist()
