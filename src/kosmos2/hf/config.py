"""The reference's configuration classes, with every documented field, and the way to our network.

The field names and defaults are those of the released model, microsoft/kosmos-2-patch14-224. What a
configuration may say and the network cannot be is refused where one becomes the other.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from kosmos2.config import Config
from kosmos2.errors import ConfigError
from kosmos2.hf.config_base import PreTrainedConfig
from kosmos2.weights.names import config_from_reference, config_to_reference


class Kosmos2TextConfig(PreTrainedConfig):
    """The decoder."""

    model_type = "kosmos_2_text_model"
    base_config_key = "text_config"
    attribute_map: ClassVar[dict[str, str]] = {
        **PreTrainedConfig.attribute_map,
        "hidden_size": "embed_dim",
        "num_attention_heads": "attention_heads",
        "num_hidden_layers": "layers",
    }

    vocab_size: int = 65_037
    max_position_embeddings: int = 2048
    embed_dim: int = 2048
    layers: int = 24
    ffn_dim: int = 8192
    attention_heads: int = 32
    activation_function: str = "gelu"
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    activation_dropout: float | int = 0.0
    layerdrop: float | int = 0.0
    layer_norm_eps: float | int = 1e-5
    init_std: float | int = 0.02
    scale_embedding: bool = True
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list | None = 2
    add_cross_attention: bool = False


class Kosmos2VisionConfig(PreTrainedConfig):
    """The vision tower."""

    model_type = "kosmos_2_vision_model"
    base_config_key = "vision_config"

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int | list | tuple = 224
    patch_size: int | list | tuple = 14
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float | int = 1e-5
    attention_dropout: float | int = 0.0
    initializer_range: float | int = 0.02
    initializer_factor: float | int = 1.0


class Kosmos2Config(PreTrainedConfig):
    """The whole model: its decoder, its vision tower, and the latents between them."""

    model_type = "kosmos-2"

    text_config: Kosmos2TextConfig
    vision_config: Kosmos2VisionConfig
    latent_query_num: int = 64
    tie_word_embeddings: bool = True

    def __init__(self, **settings: Any) -> None:
        """Take what is given; the sections may be dicts, objects, or left out.

        Raises:
            ConfigError: a value of the wrong type, or a section of another kind of model.
        """
        super().__init__(**{"text_config": None, "vision_config": None, **settings})

    @classmethod
    def of_network(cls, config: Config) -> Self:
        """What the reference would call a network."""
        return cls(**config_to_reference(config))

    def network_config(self) -> Config:
        """The network that this describes.

        Raises:
            ConfigError: it cannot be built here; the field is named.
        """
        for name, value, only in (
            ("tie_word_embeddings", self.tie_word_embeddings, True),
            ("text_config.tie_word_embeddings", self.text_config.tie_word_embeddings, True),
            ("text_config.layerdrop", self.text_config.layerdrop, 0),
            ("vision_config.attention_dropout", self.vision_config.attention_dropout, 0),
        ):
            if value != only:
                raise ConfigError(f"{name} is {value!r}; this network has only {only!r}")
        return config_from_reference(self.to_dict())

    def get_text_config(self, decoder: bool | None = None) -> Kosmos2TextConfig:
        """The section of the decoder, however it is asked for."""
        return self.text_config
