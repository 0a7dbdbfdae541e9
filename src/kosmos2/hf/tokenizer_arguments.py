"""What a call of the tokenizer is given, checked: the texts, and arguments without a use here."""

from __future__ import annotations

from typing import Any

from kosmos2.errors import ConfigError, InputError
from kosmos2.hf.padding import KindError

# Arguments for what KOSMOS-2 has no use for, with the value that asks for nothing.
NEUTRAL = {
    "is_split_into_words": (False, "join the words with spaces"),
    "return_overflowing_tokens": (False, "cut the text before"),
    "split_special_tokens": (False, "leave <s> and </s> out of the text"),
    "stride": (0, "cut the text before"),
    "text_pair": (None, "give one text"),
    "text_pair_target": (None, "give one text"),
    "text_target": (None, "see kosmos2.hf.labels_for"),
}


def texts_of(text: Any) -> list[str]:
    """One text or several, as a list of whole strings."""
    if text is None:
        raise InputError("there is no text; give one, or a list of them")
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list | tuple):
        raise KindError(f"text is to be a string or a list of strings, not {type(text).__name__}")
    if not texts:
        raise InputError("there is no text in the list; give at least one")
    for at, one in enumerate(texts):
        if not isinstance(one, str):
            raise KindError(f"text {at} is {one!r}, not a string; give a list of strings")
        try:
            one.encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(one[error.start])
            raise KindError(
                f"text {at} has half a character (U+{code:04X}) at {error.start}; decode it again"
            ) from error
    return list(texts)


def refuse_others(others: dict[str, Any]) -> None:
    """Refuse arguments that are not known, and those that ask for what there is not."""
    for name, wish in others.items():
        if name not in NEUTRAL:
            raise ConfigError(f"the tokenizer has no argument {name}; leave it out")
        neutral, way_out = NEUTRAL[name]
        if wish is not None and wish != neutral:
            raise InputError(f"{name}={wish!r} is nothing that KOSMOS-2 can use; {way_out}")
