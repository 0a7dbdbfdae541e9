"""Prompts by which evaluation harnesses ask for boxes, and the form in which they read the answer.

A harness sends fixed words with a description among them, and parses what comes back. To answer in
words would score nothing, though the model knows the box. Both of these read a list of objects with
`bbox_2d` in thousandths, in a fenced block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

READ_AS = "qwen3"  # of `dialects.DIALECTS`

_LMMS_EVAL = re.compile(
    r'\s*Locate every object that matches the descriptions? "(.+)" in the image\.'
    r"\s*Report bbox coordinates in JSON format\.?\s*",
    re.DOTALL,
)
_VLMEVALKIT = re.compile(
    r"\s*Please provide the bounding box coordinates? of the region this sentence describes:"
    r"\s*<ref>(.+)</ref>\.?\s*",
    re.DOTALL,
)
_BETWEEN = re.compile(r'"\s*,\s*"')


@dataclass(frozen=True, slots=True)
class Harness:
    """What a harness looks for."""

    name: str
    phrases: tuple[str, ...]


def recognise(text: str) -> Harness | None:
    """The harness whose prompt this is, word for word."""
    if asked := _LMMS_EVAL.fullmatch(text):
        return _harness("lmms-eval", _BETWEEN.split(asked[1]))
    if asked := _VLMEVALKIT.fullmatch(text):
        return _harness("VLMEvalKit", [asked[1]])
    return None


def _harness(name: str, phrases: list[str]) -> Harness | None:
    words = tuple(phrase.strip() for phrase in phrases)
    return Harness(name, words) if all(words) else None
