"""How long answers may be, what ends them, and what fills the place after their end."""

from __future__ import annotations

from kosmos2.errors import InputError
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.hf.notices import once


def ends_of(config: GenerationConfig) -> frozenset[int]:
    """The ids that end an answer."""
    ends = config.eos_token_id
    return frozenset() if ends is None else frozenset([ends] if isinstance(ends, int) else ends)


def pad_of(config: GenerationConfig) -> int:
    """What an answer that is over goes on as."""
    ends = config.eos_token_id
    if config.pad_token_id is not None or ends is None:
        return config.pad_token_id or 0
    return ends if isinstance(ends, int) else ends[0]


def limit_of(config: GenerationConfig, width: int, positions: int) -> int:
    """How many tokens an answer to prompts of some width may have.

    Raises:
        InputError: none, because of the prompt.
    """
    if config.max_new_tokens is not None:
        limit = config.max_new_tokens
        if "max_length" in config.given:
            once("max_new_tokens and max_length are both set; max_new_tokens counts")
    elif "max_length" in config.given:
        limit = config.max_length - width
        if limit < 1:
            raise InputError(
                f"the prompt has {width} tokens and max_length={config.max_length} counts them "
                "too, so there is no room for an answer; set max_new_tokens instead"
            )
    else:
        limit = min(GenerationConfig.max_length, positions - width)
        if limit < 1:
            raise InputError(
                f"the prompt has {width} tokens, and the model was trained to read {positions}, "
                "the answer included; shorten it, or set max_new_tokens to go on all the same"
            )
    least = config.min_new_tokens
    least = max(0, config.min_length - width) if least is None else least
    if least > limit:
        once(f"answers of at least {least} tokens are asked for, but end after {limit}")
    return limit
