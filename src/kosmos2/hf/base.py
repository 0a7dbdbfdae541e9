"""What the two model classes share: a network, its configuration, and how it is fed.

Shapes: N pictures, Y by X pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kosmos2.errors import ConfigError
from kosmos2.hf import arguments
from kosmos2.hf.config import Kosmos2Config
from kosmos2.hf.devices import device_of
from kosmos2.hf.feeding import Given, feed
from kosmos2.hf.forward import Heard, Seen, Wishes, look
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.hf.loading import Pretrained
from kosmos2.hf.names import named, speak_reference
from kosmos2.hf.outputs import BaseModelOutputWithPooling
from kosmos2.model import Network
from kosmos2.model.connector import Connector
from kosmos2.model.decoder import Decoder
from kosmos2.model.vision import VisionTower


class Kosmos2PreTrainedModel(Pretrained):
    """What the two models share: a network, its configuration, and how it is fed."""

    config_class = Kosmos2Config
    main_input_name = "pixel_values"
    base_model_prefix = ""
    supports_gradient_checkpointing = False
    tied = False  # whether the output layer, the embedding once more, belongs to it

    def __init__(
        self,
        config: Kosmos2Config,
        *,
        network: Network | None = None,
        compat: str | None = None,
        attn_implementation: str | None = None,
    ) -> None:
        """A model around a network, or around a new one with random weights.

        Args:
            config: what the network is, and what is returned unless a call says otherwise.
            network: one to use as it is.
            compat: "transformers-5" numbers the words after padding on the left as that version
                does, whose answers differ there; None numbers them rightly.
            attn_implementation: "eager" computes attention step by step, "sdpa" (as by default)
                in one, wherever nobody asks for the attentions.

        Raises:
            ConfigError: the network cannot be built, or a choice that there is not.
        """
        super().__init__()
        if not isinstance(config, Kosmos2Config):
            raise ConfigError(f"config is a {type(config).__name__}; give a Kosmos2Config")
        way = attn_implementation or config.attn_implementation or "sdpa"
        arguments.check_choices(way, compat)
        if network is None:
            network = Network(config.network_config())
            network.initialise()
        self.network = network
        self.config = config
        self.generation_config = GenerationConfig.from_model_config(config)
        self.compat = compat
        self.attn_implementation = way
        speak_reference(self)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored as, and what comes out."""
        return self.network.dtype

    @property
    def vision_model(self) -> VisionTower:
        """The tower, for instance to freeze it: `model.vision_model.requires_grad_(False)`."""
        return self.network.vision

    @property
    def image_to_text_projection(self) -> Connector:
        """What makes the tower's vectors latents."""
        return self.network.connector

    @property
    def text_model(self) -> Decoder:
        """The decoder, its embedding included."""
        return self.network.decoder

    def get_input_embeddings(self) -> nn.Embedding:
        """From ids to the vectors that `inputs_embeds` takes."""
        return self.network.decoder.words

    def set_attn_implementation(self, name: str) -> None:
        """Choose how attention is computed; both ways give the same up to rounding.

        Raises:
            ConfigError: neither `eager` nor `sdpa`.
        """
        arguments.check_choices(name, None)
        self.attn_implementation = name

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers can be learnt, so none that is quantised; the output layer is tied."""
        words = self.network.decoder.words.weight if exclude_embeddings else None
        wanted = (p for p in self.parameters() if p is not words)
        return sum(p.numel() for p in wanted if p.requires_grad or not only_trainable)

    def named_parameters(self, prefix: str = "", *args: Any, **how: Any) -> Iterator[Any]:
        """Parameters by the reference's names, which scripts that freeze a part look at."""
        tensors = self.network.named_parameters("", *args, **how)
        return named(tensors, f"{prefix}." if prefix else "")

    def to(self, *args: Any, **how: Any) -> Self:
        """Move or convert the weights; a GPU that is not there is the CPU, after a notice."""
        if args and isinstance(args[0], str | int | torch.device):
            args = device_of(args[0]), *args[1:]
        if how.get("device") is not None:
            how["device"] = device_of(how["device"])
        return super().to(*args, **how)

    def cuda(self, device: int | torch.device | None = None) -> Self:
        """Move the weights to a GPU."""
        return self.to("cuda" if device is None else device)

    def tie_weights(self) -> None:
        """Nothing to do: the output layer is the embedding, always."""

    def gradient_checkpointing_enable(self, *args: Any, **how: Any) -> None:
        """Refused.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "gradient checkpointing is not offered here; for less memory take smaller batches, or "
            "freeze a part: model.vision_model.requires_grad_(False)"
        )

    def get_image_features(
        self,
        pixel_values: Float[Tensor, "N 3 Y X"],
        interpolate_pos_encoding: bool = False,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """What is seen in pictures; `pooler_output` is the latents, ready for `image_embeds`.

        Raises:
            ImageError: pixels that the tower cannot read.
        """
        wishes = self._wishes(output_attentions, output_hidden_states)
        seen = look(self.network, pixel_values, wishes, interpolate=interpolate_pos_encoding)
        return self._returned(seen.features(), return_dict)

    def _fed(self, given: Given, use_cache: bool | None, wishes: Wishes) -> tuple[Seen, Heard]:
        """What comes of pictures and of tokens."""
        caches = self.config.text_config.use_cache if use_cache is None else use_cache
        return feed(self.network, given, wishes, caches=caches, compat=self.compat)

    def _wishes(self, attentions: bool | None, hidden_states: bool | None) -> Wishes:
        """What a call says, or else the configuration."""
        parts = (self.config, self.config.text_config)
        if attentions is None:
            attentions = any(part.output_attentions for part in parts)
        if hidden_states is None:
            hidden_states = any(part.output_hidden_states for part in parts)
        return Wishes(
            hidden_states=hidden_states,
            attentions=attentions,
            plainly=self.attn_implementation == "eager",
        )

    def _returned(self, output: Any, return_dict: bool | None) -> Any:
        named = self.config.return_dict if return_dict is None else return_dict
        return output if named else output.to_tuple()
