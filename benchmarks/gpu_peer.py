"""The general-purpose library on the GPU, eager, in bf16 with sdpa, with the same weights.

`GpuPeer` is its model, `TheirCases` the cases that we do, done by it.
"""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import torch
from gpu_bench import Bench
from gpu_right import looped
from gpu_work import CAPTION_TOKENS, Work

from kosmos2.model import Network
from kosmos2.weights.names import config_to_reference, ours_to_theirs


class Watch:
    """Notes when each step was done: a stopping rule that never stops."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, []

    def __call__(self, ids, scores, **_):
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)


class GpuPeer:
    """One model; raises an ImportError where the library is not."""

    def __init__(self, network: Network) -> None:
        import transformers

        self.name = f"transformers {transformers.__version__}"
        self.device = network.device
        config = transformers.Kosmos2Config(**config_to_reference(network.config))
        config._attn_implementation = "sdpa"
        with torch.device(self.device):
            model = transformers.Kosmos2ForConditionalGeneration(config)
        model = model.to(network.dtype)
        theirs = {ours_to_theirs(name): value for name, value in network.state_dict().items()}
        missing, extra = model.load_state_dict(theirs, strict=False)
        assert not extra, extra
        assert set(missing) <= {"text_model.lm_head.weight"}, missing
        model.tie_weights()
        self.model = model.eval()
        self.model.text_model.generation_config.no_repeat_ngram_size = 0

    @torch.no_grad()
    def together(
        self, pixels: torch.Tensor, ids: list[list[int]], slots: list[list[int]], new: int
    ):
        """One `generate` call; the seconds to each token, and the tokens."""
        watch, begun = Watch(self.device), time.perf_counter()
        put = self.model.generate(
            pixel_values=pixels.to(self.device, self.model.dtype),
            input_ids=torch.tensor(ids, device=self.device),
            attention_mask=torch.ones(len(ids), len(ids[0]), dtype=torch.long, device=self.device),
            image_embeds_position_mask=torch.tensor(slots, device=self.device),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            stopping_criteria=[watch],
        )
        return [at - begun for at in watch.times], put[:, len(ids[0]) :].tolist()


class TheirCases:
    """The same cases with the general-purpose library."""

    def __init__(self, bench: Bench, network: Network, work: Work) -> None:
        self.bench, self.work, self.peer = bench, work, GpuPeer(network)

    def _together(self, pictures: torch.Tensor, prompts: list[list[int]], new: int):
        slots = [self.work.slots(ids) for ids in prompts]
        return self.peer.together(pictures, prompts, slots, new)

    def agreement(self, network: Network) -> dict[str, Any]:
        """Whether it and the plain loop say the same (both in bf16, so only mostly)."""
        new, same = (4 if self.bench.tiny else 16), []
        for n in range(4):
            ids, picture = self.work.ids(5, n), self.work.pixels[n % 2][None]
            with torch.no_grad():
                latents = network.look(picture.to(self.bench.device))
            ours = looped(network, self.work.request(ids, latents, new)).ids
            _, (theirs,) = self._together(picture, [ids], new)
            pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs))
            same.append(sum(1 for _ in pairs))
        return {"tokens": 4 * new, "equal_up_to_the_first_difference": sum(same)}

    def first_token(self) -> float:
        numbers = itertools.cycle(range(len(self.work.pixels)))
        ids = self.work.ids(4, 0)
        return self.bench.seconds(
            lambda: self._together(self.work.pixels[next(numbers)][None], [ids], 1), times=10
        )

    def step_s(self, rows: int) -> float:
        new = 4 if self.bench.tiny else 32
        prompts = [self.work.ids(4, n) for n in range(rows)]
        pictures = self.work.pixels[:1].expand(rows, -1, -1, -1)
        self._together(pictures, prompts, 3)
        times, _ = self._together(pictures, prompts, new)
        return statistics.median(b - a for a, b in itertools.pairwise(times))

    def phrases(self) -> dict[str, float]:
        count, new = (3, 4) if self.bench.tiny else (16, 5)
        prompts = [self.work.ids(3, n, phrase=True) for n in range(count)]
        picture = self.work.pixels[:1]

        def answer() -> None:
            for ids in prompts:
                self._together(picture, [ids], new)

        return {"phrases": count, "seconds": self.bench.seconds(answer, times=2, warm=1)}

    def captions(self) -> dict[str, Any]:
        """Pictures a second, by batch size, and the best of them."""
        new = 4 if self.bench.tiny else CAPTION_TOKENS
        ids, rates = self.work.ids(4, 0), {}
        for batch in (2,) if self.bench.tiny else (16, 32, 64, 128, 256):
            pictures = self.work.pixels[:batch]
            self._together(pictures, [ids] * batch, 2)
            times, _ = self._together(pictures, [ids] * batch, new)
            rates[batch] = batch / times[-1]
        best = max(rates, key=lambda batch: rates[batch])
        return {"batch": best, "pictures_s": rates[best], "pictures_s_by_batch": rates}


def their_cases(bench: Bench, network: Network, work: Work) -> TheirCases | None:
    """The other library with the same weights, where it is."""
    made: list[TheirCases] = []

    def begin() -> str:
        made.append(TheirCases(bench, network, work))
        return made[0].peer.name

    bench.case("peer", 30, begin)
    return made[0] if made else None
