"""The arguments of a processor's call, sorted: for words, for pictures, for what joins them.

As in the reference an argument can be given plainly, in `text_kwargs` or `images_kwargs`, or in
`common_kwargs`; but not twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kosmos2.errors import ConfigError
from kosmos2.hf.image_processor import CALL_WORDS as FOR_PICTURES
from kosmos2.hf.notices import once
from kosmos2.hf.tokenizer_arguments import NEUTRAL

FOR_TEXT = frozenset(
    {
        "max_length",
        "pad_to_multiple_of",
        "padding",
        "padding_side",
        "return_attention_mask",
        "return_length",
        "return_offsets_mapping",
        "return_special_tokens_mask",
        "return_tensors",
        "return_token_type_ids",
        "truncation",
        "verbose",
        *NEUTRAL,
    }
)
FOR_BOTH = frozenset(
    {
        "add_eos_token",
        "add_special_tokens",
        "bboxes",
        "first_image_token_id",
        "num_image_tokens",
    }
)
_GROUPS = ("common_kwargs", "text_kwargs", "images_kwargs")


@dataclass(slots=True)
class Words:
    """What a call asks for, beside the defaults."""

    text: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict)
    both: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, value: Any, group: str = "") -> None:
        """Sort one in; a group keeps it from the other side."""
        homes = [
            home
            for home, names, other in (
                (self.text, FOR_TEXT, "images_kwargs"),
                (self.pictures, FOR_PICTURES, "text_kwargs"),
                (self.both, FOR_BOTH, None),
            )
            if name in names and group != other
        ]
        for home in homes:
            home[name] = value
        if not homes:
            place = f" in {group}" if group else ""
            once(f"the processor has no argument {name}{place}, so it is ignored; leave it out")


def sorted_words(given: Mapping[str, Any], groups: Mapping[str, Any]) -> Words:
    """Sort what a call was given.

    Args:
        given: plain arguments that are not at their default.
        groups: all others, among them the three dictionaries.

    Raises:
        ConfigError: an argument that is given twice.
    """
    plain = {**given, **{name: value for name, value in groups.items() if name not in _GROUPS}}
    words = Words()
    for group in _GROUPS:
        for name, value in (groups.get(group) or {}).items():
            if name in plain and group != "common_kwargs":
                raise ConfigError(f"{name} is given twice, plainly and in {group}; give it once")
            words.put(name, value, group)
    for name, value in plain.items():
        words.put(name, value)
    return words
