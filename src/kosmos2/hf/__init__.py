"""The reference library's names over our network: change the import line, and old code runs.

    from kosmos2.hf import AutoProcessor, Kosmos2ForConditionalGeneration

Names, arguments and fields are those of `transformers`; docs/migrate.md says what is the same, what
is better and what is refused.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "config": ("Kosmos2Config", "Kosmos2TextConfig", "Kosmos2VisionConfig"),
    "auto": (
        "AutoConfig",
        "AutoImageProcessor",
        "AutoModel",
        "AutoModelForImageTextToText",
        "AutoModelForVision2Seq",
        "AutoProcessor",
        "AutoTokenizer",
    ),
    "model": ("Kosmos2ForConditionalGeneration", "Kosmos2Model", "Kosmos2PreTrainedModel"),
    "processor": ("Kosmos2Processor",),
    "tokenizer": ("Kosmos2Tokenizer", "XLMRobertaTokenizerFast"),
    "image_processor": ("CLIPImageProcessor", "Kosmos2ImageProcessor"),
    "encoding": ("BatchEncoding", "BatchFeature"),
    "cache": ("DynamicCache",),
    "generation.config": ("GenerationConfig",),
    "generation.streamers": ("TextIteratorStreamer", "TextStreamer"),
    "boxes_on_image": ("draw_entity_boxes_on_image",),
    "labels": ("labels_for",),
    "notices": ("Notice",),
}
_MODULES = {name: f"kosmos2.hf.{module}" for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
