"""Which settings of generation there are, which values they can have, and what is not offered."""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from kosmos2.errors import ConfigError

THERE_IS = (
    "there is greedy search, sampling (do_sample=True with temperature, top_k, top_p, min_p) and "
    "beam search (num_beams with length_penalty, early_stopping)"
)


def checked(name: str, value: Any) -> Any:
    """The value of a field, if the field exists here and can have it."""
    if name in NOT_OFFERED:
        neutral = NOT_OFFERED[name]
        if value is None or (isinstance(value, bool | int | float | str) and value == neutral):
            return value
        raise ConfigError(
            f"{name}={_brief(value)} is not offered here; leave it out (or {neutral!r}): {THERE_IS}"
        )
    if name in INERT:
        return value
    if name not in RULES:
        near = get_close_matches(name, [*RULES, *NOT_OFFERED], n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(RULES)}"
        raise ConfigError(f"there is no generation setting {name!r}; {hint}")
    if hasattr(value, "tolist"):  # a number or a list of numpy's or torch's
        value = value.tolist()
    fits, wanted = RULES[name]
    if value is not None and not fits(value):
        raise ConfigError(f"{name} is {_brief(value)}; give {wanted}")
    return list(value) if isinstance(value, tuple) else value


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_whole, value))


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_Rule = tuple[Callable[[Any], bool], str]
_SWITCH: _Rule = (lambda value: isinstance(value, bool), "True or False")
_FROM_0: _Rule = (_whole, "a whole number from 0")
_FROM_1: _Rule = (lambda value: _whole(value, 1), "a whole number from 1")

# Which values each field can have, and how to say so.
RULES: dict[str, _Rule] = {
    "max_length": _FROM_1,
    "max_new_tokens": _FROM_1,
    "min_length": _FROM_0,
    "min_new_tokens": _FROM_0,
    "do_sample": _SWITCH,
    "num_beams": _FROM_1,
    "num_return_sequences": _FROM_1,
    "temperature": (lambda v: _number(v) and v >= 0, "a number from 0"),
    "top_k": _FROM_0,
    "top_p": (lambda v: _number(v) and 0 < v <= 1, "a number above 0, up to 1"),
    "min_p": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "repetition_penalty": (lambda v: _number(v) and v > 0, "a number above 0; 1 is off"),
    "no_repeat_ngram_size": _FROM_0,
    "length_penalty": (_number, "a number"),
    "early_stopping": (lambda v: isinstance(v, bool) or v == "never", "True, False or 'never'"),
    "eos_token_id": (lambda v: _whole(v) or _ids(v), "an id, or a list of ids"),
    "pad_token_id": (_whole, "an id"),
    "bos_token_id": (_whole, "an id"),
    "use_cache": _SWITCH,
    "output_scores": _SWITCH,
    "output_logits": _SWITCH,
    "output_attentions": _SWITCH,
    "output_hidden_states": _SWITCH,
    "return_dict_in_generate": _SWITCH,
    "suppress_tokens": (lambda v: _ids(v) or v == [], "a list of ids"),
    "bad_words_ids": (
        lambda v: isinstance(v, list | tuple) and bool(v) and all(map(_ids, v)),
        "a list of lists of ids, none of them empty",
    ),
    "renormalize_logits": _SWITCH,
    "seed": _FROM_0,
}

# What the reference can do besides, with the values at which it does not.
NOT_OFFERED: dict[str, Any] = {
    "assistant_early_exit": None,
    "assistant_model": None,
    "begin_suppress_tokens": None,
    "constraints": None,
    "custom_generate": None,
    "diversity_penalty": 0,
    "dola_layers": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "exponential_decay_length_penalty": None,
    "force_words_ids": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "guidance_scale": 1,
    "max_time": None,
    "negative_prompt_attention_mask": None,
    "negative_prompt_ids": None,
    "num_beam_groups": 1,
    "penalty_alpha": 0,
    "prefix_allowed_tokens_fn": None,
    "prompt_lookup_num_tokens": None,
    "remove_invalid_values": False,
    "sequence_bias": None,
    "speculation_type": None,
    "stop_strings": None,
    "token_healing": False,
    "top_h": None,
    "typical_p": 1,
    "use_mtp": False,
    "watermarking_config": None,
}

# What changes no word of an answer: how memory is kept, or how a feature not offered is tuned.
INERT = frozenset(
    {
        "assistant_confidence_threshold",
        "assistant_ensemble_weight",
        "assistant_lookbehind",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "continuous_batching_config",
        "decoder_start_token_id",
        "disable_compile",
        "is_assistant",
        "low_memory",
        "max_cache_len",
        "max_matching_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "prefill_chunk_size",
        "synced_gpus",
        "target_lookbehind",
        "use_model_defaults",
    }
)
