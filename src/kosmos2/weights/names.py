"""What the reference calls things: tensors in its weight files, settings in its config.json.

Our names are chosen for reading; theirs, misspellings included, are written here and nowhere else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from kosmos2.config import LARGEST, Config, TextConfig, VisionConfig
from kosmos2.errors import CheckpointError, ConfigError

EMBEDDING = "text_model.model.embed_tokens.weight"
TIED = "text_model.lm_head.weight"  # the embedding once more: read if equal, never written

# What older files may hold besides: tables that follow from the sizes.
IGNORABLE = {
    TIED,
    "text_model.model.embed_positions.weights",
    "vision_model.model.embeddings.position_ids",
}

# Our own entry in config.json: how the weights beside it are quantised.
QUANTISED = "kosmos2_quantised"
LAYOUT = 1  # of quantised tensors; another number is another order of their bytes

# `#` stands for the number of a layer; a trailing `.weight` or `.bias` is the same on both sides,
# and so are the tensors that a quantised weight is kept as.
_TENSORS = {
    "vision.class_vector": "vision_model.model.embeddings.class_embedding",
    "vision.patch": "vision_model.model.embeddings.patch_embedding",
    "vision.positions": "vision_model.model.embeddings.position_embedding",
    "vision.first_norm": "vision_model.model.pre_layrnorm",
    "vision.layers.#.attention_norm": "vision_model.model.encoder.layers.#.layer_norm1",
    "vision.layers.#.attention.query": "vision_model.model.encoder.layers.#.self_attn.q_proj",
    "vision.layers.#.attention.key": "vision_model.model.encoder.layers.#.self_attn.k_proj",
    "vision.layers.#.attention.value": "vision_model.model.encoder.layers.#.self_attn.v_proj",
    "vision.layers.#.attention.out": "vision_model.model.encoder.layers.#.self_attn.out_proj",
    "vision.layers.#.ffn_norm": "vision_model.model.encoder.layers.#.layer_norm2",
    "vision.layers.#.ffn.widen": "vision_model.model.encoder.layers.#.mlp.fc1",
    "vision.layers.#.ffn.narrow": "vision_model.model.encoder.layers.#.mlp.fc2",
    "vision.last_norm": "vision_model.model.post_layernorm",
    "connector.project": "image_to_text_projection.dense",
    "connector.queries": "image_to_text_projection.latent_query",
    "connector.attention.query": "image_to_text_projection.x_attn.q_proj",
    "connector.attention.key": "image_to_text_projection.x_attn.k_proj",
    "connector.attention.value": "image_to_text_projection.x_attn.v_proj",
    "connector.attention.out": "image_to_text_projection.x_attn.out_proj",
    "decoder.words": "text_model.model.embed_tokens",
    "decoder.layers.#.attention_norm": "text_model.model.layers.#.self_attn_layer_norm",
    "decoder.layers.#.attention.query": "text_model.model.layers.#.self_attn.q_proj",
    "decoder.layers.#.attention.key": "text_model.model.layers.#.self_attn.k_proj",
    "decoder.layers.#.attention.value": "text_model.model.layers.#.self_attn.v_proj",
    "decoder.layers.#.attention.out": "text_model.model.layers.#.self_attn.out_proj",
    "decoder.layers.#.attention.inner_norm": "text_model.model.layers.#.self_attn.inner_attn_ln",
    "decoder.layers.#.ffn_norm": "text_model.model.layers.#.final_layer_norm",
    "decoder.layers.#.ffn.widen": "text_model.model.layers.#.ffn.fc1",
    "decoder.layers.#.ffn.narrow": "text_model.model.layers.#.ffn.fc2",
    "decoder.layers.#.ffn.inner_norm": "text_model.model.layers.#.ffn.ffn_layernorm",
    "decoder.last_norm": "text_model.model.layer_norm",
}
_TENSORS_BACK = {theirs: ours for ours, theirs in _TENSORS.items()}
_STEM_AND_END = re.compile(r"(.+?)(\.weight(?:_int8|_int4|_grid|_size)?|\.bias)?")

# Ours, then theirs; of several spellings the first is the one written.
_TEXT = {
    "vocabulary": ("vocab_size",),
    "width": ("embed_dim", "hidden_size"),
    "layers": ("layers", "num_hidden_layers"),
    "heads": ("attention_heads", "num_attention_heads"),
    "ffn_width": ("ffn_dim",),
    "positions": ("max_position_embeddings",),
    "dropout": ("dropout",),
    "attention_dropout": ("attention_dropout",),
    "activation_dropout": ("activation_dropout",),
    "norm_eps": ("layer_norm_eps",),
    "scale_embedding": ("scale_embedding",),
    "bos": ("bos_token_id",),
    "pad": ("pad_token_id",),
    "eos": ("eos_token_id",),
}
_VISION = {
    "image_size": ("image_size",),
    "patch_size": ("patch_size",),
    "width": ("hidden_size",),
    "layers": ("num_hidden_layers",),
    "heads": ("num_attention_heads",),
    "ffn_width": ("intermediate_size",),
    "norm_eps": ("layer_norm_eps",),
}
_LATENTS = {"latents": ("latent_query_num",)}

# What the reference can vary and this network cannot.
_FIXED_TEXT = {"activation_function": "gelu", "add_cross_attention": False}
_FIXED_VISION = {"hidden_act": "quick_gelu", "num_channels": 3}


def ours_to_theirs(name: str) -> str:
    """The reference's name of one of our parameters."""
    theirs = _translate(name, _TENSORS)
    assert theirs is not None, f"{name} is no parameter of the network"
    return theirs


def theirs_to_ours(name: str) -> str | None:
    """Our name of one of the reference's tensors; None if it only repeats what is known.

    Raises:
        CheckpointError: KOSMOS-2 has no tensor of that name.
    """
    if name in IGNORABLE:
        return None
    ours = _translate(name, _TENSORS_BACK)
    if ours is None:
        raise CheckpointError(f"KOSMOS-2 has no tensor {name}; is this another model's file?")
    return ours


def config_from_reference(values: dict[str, Any]) -> Config:
    """The network that a config.json of the reference describes.

    What is missing takes the value of the released model, and what means nothing to a network is
    left alone: files of older versions carry some forty such fields.

    Raises:
        ConfigError: another kind of model, or an impossible setting, named as in the file.
    """
    kind = values.get("model_type")
    if kind not in (None, "kosmos-2"):
        raise ConfigError(f"model_type is {_brief(kind)}; only 'kosmos-2' can be read here")
    text = _table(values, "text_config", _FIXED_TEXT)
    vision = _table(values, "vision_config", _FIXED_VISION)
    return Config(
        text=TextConfig(**_settings(text, _TEXT, TextConfig, "text_config.")),
        vision=VisionConfig(**_settings(vision, _VISION, VisionConfig, "vision_config.")),
        **_settings(values, _LATENTS, Config, ""),
    )


def config_to_reference(config: Config) -> dict[str, Any]:
    """A config.json that the reference reads; the inverse of `config_from_reference`."""
    text = {theirs[0]: getattr(config.text, ours) for ours, theirs in _TEXT.items()}
    vision = {theirs[0]: getattr(config.vision, ours) for ours, theirs in _VISION.items()}
    return {
        "architectures": ["Kosmos2ForConditionalGeneration"],
        "model_type": "kosmos-2",
        "latent_query_num": config.latents,
        "tie_word_embeddings": True,
        "text_config": {"model_type": "kosmos_2_text_model", **text, **_FIXED_TEXT},
        "vision_config": {"model_type": "kosmos_2_vision_model", **vision, **_FIXED_VISION},
    }


def mark_of(kind: str | None) -> dict[str, Any]:
    """What config.json says about quantised weights.

    The second entry is for the reference, which would otherwise miss most of its tensors and fill
    them with random numbers: it refuses a `quantization_config` that names no method of its own.
    """
    if kind is None:
        return {}
    return {QUANTISED: {"kind": kind, "layout": LAYOUT}, "quantization_config": {"kosmos2": kind}}


def kind_from_config(values: dict[str, Any]) -> str | None:
    """The inverse of `mark_of`; None if the weights are as the reference has them.

    Raises:
        ConfigError: quantised by something else, or by a later version of this.
    """
    mark = values.get(QUANTISED)
    if mark is None:
        other = values.get("quantization_config")
        if other:
            raise ConfigError(
                f"quantization_config is {_brief(other)}: weights that another library quantised "
                "cannot be read; load the original ones, with quantize='int8' or 'int4'"
            )
        return None
    kind, layout = (mark.get(k) for k in ("kind", "layout")) if isinstance(mark, dict) else (0, 0)
    if not isinstance(kind, str) or layout != LAYOUT:
        raise ConfigError(
            f"{QUANTISED} is {_brief(mark)}; this version reads layout {LAYOUT}. "
            "Quantise the original model again"
        )
    return kind


def _translate(name: str, table: dict[str, str]) -> str | None:
    parts = name.split(".")
    numbers = [part for part in parts if part.isascii() and part.isdigit()]
    pattern = ".".join("#" if part in numbers else part for part in parts)
    whole = _STEM_AND_END.fullmatch(pattern)
    stem, end = (whole[1], whole[2] or "") if whole else (pattern, "")
    if stem not in table or len(numbers) != stem.count("#"):
        return None
    return table[stem].replace("#", "".join(numbers)) + end


def _table(values: dict[str, Any], name: str, fixed: dict[str, Any]) -> dict[str, Any]:
    """One section of the file, in which the fixed settings have their only possible value."""
    table = values.get(name)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is {_brief(table)}; it should be a table of settings")
    for setting, only in fixed.items():
        if table.get(setting) not in (None, only):
            raise ConfigError(
                f"{name}.{setting} is {_brief(table[setting])}; this network has only {only!r}"
            )
    return table


def _settings(
    values: dict[str, Any], table: Mapping[str, tuple[str, ...]], kind: type, place: str
) -> dict[str, Any]:
    """The settings that are given, checked one by one so that errors say the name in the file."""
    defaults = {field.name: field.default for field in fields(kind)}
    settings: dict[str, Any] = {}
    for ours, spellings in table.items():
        given = [(name, values[name]) for name in spellings if values.get(name) is not None]
        for name, value in given:
            checked = _check(place + name, value, defaults[ours], LARGEST.get(ours))
            if settings.setdefault(ours, checked) != checked:
                raise ConfigError(
                    f"{place}{name} is {checked} but {place}{given[0][0]}, "
                    f"the same thing, is {settings[ours]}; remove the wrong one"
                )
    return settings


def _check(name: str, value: Any, default: Any, largest: int | None) -> Any:
    if name.endswith(("image_size", "patch_size")) and isinstance(value, list | tuple):
        value = _side(name, list(value))
    if isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        most = math.inf if largest is None else largest
        least = 0 if largest is None else 1  # a token id may be 0, a size may not
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        wanted = f"a whole number from {least}" + ("" if largest is None else f" to {largest}")
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits, wanted = number and 0 <= value < 1, "a number from 0 to below 1"
    if not fits:
        raise ConfigError(f"{name} is {_brief(value)}; it should be {wanted}")
    return value


def _side(name: str, sides: list[Any]) -> Any:
    """The reference may write a square as [height, width]."""
    if len(sides) != 2 or sides[0] != sides[1]:
        raise ConfigError(f"{name} is {_brief(sides)}; this network has only squares")
    return sides[0]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
