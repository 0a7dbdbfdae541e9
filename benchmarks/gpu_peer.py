"""The general-purpose library on the GPU, eager, in bf16 with sdpa, with the same weights."""

from __future__ import annotations

import time

import torch

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
