"""The reference's Auto classes. There is one kind of model here, so each stands for one class.

A folder or a model of the hub that says it is of another kind is refused, by name, before anything
else of it is read.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import Any, ClassVar

from kosmos2.errors import ConfigError
from kosmos2.hf.folders import HARMLESS, folder_of
from kosmos2.weights.stored import read_json

KIND = "kosmos-2"


class _Auto:
    """A class that stands for another; it is imported only when it is wanted."""

    home: ClassVar[str]  # the module of this room
    stands_for: ClassVar[str]

    def __init__(self, *args: Any, **words: Any) -> None:
        name = type(self).__name__
        raise ConfigError(f"{name}() makes nothing; say {name}.from_pretrained(name)")

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], *args: Any, **words: Any) -> Any:
        """What `stands_for` makes of a folder or a model of the hub.

        Raises:
            ConfigError: it says that it is another kind of model.
            CheckpointError: it is not there, or not whole.
        """
        hub = HARMLESS | {"revision", "local_files_only"}
        where = {word: words[word] for word in hub & words.keys()}
        file = folder_of(name, **where) / "config.json"
        if file.is_file():  # a folder of a processor alone has none
            _check_kind(read_json(file).get("model_type"), str(file))
        return cls._class().from_pretrained(name, *args, **words)

    @classmethod
    def _class(cls) -> Any:
        return getattr(import_module(f"kosmos2.hf.{cls.home}"), cls.stands_for)


class _AutoModel(_Auto):
    home = "model"

    @classmethod
    def from_config(cls, config: Any, **words: Any) -> Any:
        """A model of random weights.

        Raises:
            ConfigError: the configuration describes another kind of model.
        """
        from kosmos2.hf.config import Kosmos2Config

        _check_kind(getattr(config, "model_type", None), type(config).__name__)
        return cls._class()(Kosmos2Config.of(config), **words)


class AutoConfig(_Auto):
    """Stands for Kosmos2Config."""

    home, stands_for = "config", "Kosmos2Config"

    @classmethod
    def for_model(cls, model_type: str, **fields: Any) -> Any:
        """A configuration of that kind, from its fields."""
        _check_kind(model_type, "model_type")
        return cls._class()(**fields)


class AutoTokenizer(_Auto):
    """Stands for Kosmos2Tokenizer."""

    home, stands_for = "tokenizer", "Kosmos2Tokenizer"


class AutoImageProcessor(_Auto):
    """Stands for Kosmos2ImageProcessor."""

    home, stands_for = "image_processor", "Kosmos2ImageProcessor"


class AutoProcessor(_Auto):
    """Stands for Kosmos2Processor."""

    home, stands_for = "processor", "Kosmos2Processor"


class AutoModel(_AutoModel):
    """Stands for Kosmos2Model."""

    stands_for = "Kosmos2Model"


class AutoModelForImageTextToText(_AutoModel):
    """Stands for Kosmos2ForConditionalGeneration."""

    stands_for = "Kosmos2ForConditionalGeneration"


class AutoModelForVision2Seq(AutoModelForImageTextToText):
    """The same, under the name that it had before version 5 of the reference."""


def _check_kind(kind: object, place: str) -> None:
    if kind not in (None, KIND):
        raise ConfigError(
            f"{place} is of kind {kind!r}; kosmos2.hf has {KIND!r} only, so load it with the "
            "library that it was made for"
        )
