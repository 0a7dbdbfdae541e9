"""Pictures to `pixel_values`, with the reference's names and its settings file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Self

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.hf.encoding import BatchFeature
from kosmos2.hf.folders import folder_of
from kosmos2.hf.pixel_steps import Steps
from kosmos2.hf.raw_pictures import channels_last, flattened
from kosmos2.weights.stored import read_json

SETTINGS_FILE = "preprocessor_config.json"
SETTINGS = tuple(field.name for field in fields(Steps))

# What the reference's files and calls may hold besides, and what of it changes nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_pad": (None, False),
    "pad_size": (None,),
    "data_format": (None, "channels_first"),
    "device": (None, "cpu"),
}
_IGNORED = {"default_to_square", "disable_grouping", "image_seq_length"}
CALL_WORDS = frozenset({*SETTINGS, *_NEUTRAL, *_IGNORED, "input_data_format", "return_tensors"})
_LAYOUTS = (None, "channels_first", "channels_last")


class Kosmos2ImageProcessor:
    """Squashes pictures to a square and normalises their colours, pixel for pixel as on Pillow.

    The settings are attributes; what is set later counts for the next call.
    """

    model_input_names = ("pixel_values",)

    do_resize: bool
    size: dict[str, int]
    resample: int
    do_center_crop: bool
    crop_size: dict[str, int]
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    do_convert_rgb: bool

    def __init__(self, *, use_square_size: bool = False, **settings: Any) -> None:
        """Take settings by the reference's names.

        Args:
            use_square_size: an old file's way to say that `shortest_edge` is both edges.
            settings: those of `Steps`; without any, those of the released model.

        Raises:
            ConfigError: an unknown setting, or one that makes no pixels for this network.
        """
        settings = _settings(settings)
        size = settings.get("size")
        if use_square_size:
            edge = size.get("shortest_edge", 224) if isinstance(size, Mapping) else size
            settings["size"] = {"height": edge or 224, "width": edge or 224}
        vars(self).update(asdict(Steps(**settings)))

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], **words: Any) -> Self:
        """Read the settings of a model; those given here win.

        Raises:
            CheckpointError: no such model, or no settings in it.
        """
        settings = {word: words.pop(word) for word in [*words] if word in SETTINGS}
        stored = _stored(folder_of(name, **words))
        return cls(**_known(stored) | settings)

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write the settings as the reference reads them."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2)
        (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """The settings, and the kind of image processor that the reference has for them."""
        return {"image_processor_type": "CLIPImageProcessor"} | asdict(self._steps({}))

    def __call__(self, images: Any, **words: Any) -> BatchFeature:
        """The pixels of pictures: `preprocess`."""
        return self.preprocess(images, **words)

    def preprocess(
        self,
        images: Any,
        return_tensors: str | None = None,
        input_data_format: str | None = None,
        **words: Any,
    ) -> BatchFeature:
        """The pixels of pictures.

        Args:
            images: one picture, a list, or a list of lists: PIL images, uint8 arrays or tensors
                (H x W x 3 or 3 x H x W), or paths.
            return_tensors: `pt` or `np`; None gives a list of arrays.
            input_data_format: `channels_first` or `channels_last`, where an array leaves doubt.
            words: settings for this call alone.

        Raises:
            ImageError: something that is no picture, or numbers that are no colours.
            ConfigError: a setting that is unknown or impossible.
        """
        layout = getattr(input_data_format, "value", input_data_format)
        if layout not in _LAYOUTS:
            raise ConfigError(f"input_data_format is {layout!r}; give one of {_LAYOUTS[1:]}")
        steps = self._steps(_settings(words))
        rgb = steps.do_convert_rgb
        pixels = [
            steps.pixels(channels_last(picture, convert_rgb=rgb, layout=layout))
            for picture in flattened(images)
        ]
        return BatchFeature({"pixel_values": pixels}, return_tensors)

    def _steps(self, words: dict[str, Any]) -> Steps:
        """What is done in one call."""
        return Steps(**{name: getattr(self, name) for name in SETTINGS} | words)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.to_dict().items())})"
        )


def _settings(words: dict[str, Any]) -> dict[str, Any]:
    """Those that decide about pixels; the others must ask for nothing."""
    for name, value in words.items():
        if name in _NEUTRAL:
            plain = getattr(value, "value", value)
            if plain is not None and str(plain) not in map(str, _NEUTRAL[name]):
                raise ConfigError(f"{name} is {value!r}, which is not offered here; leave it out")
        elif name not in CALL_WORDS:
            near = get_close_matches(name, CALL_WORDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise ConfigError(f"the image processor has no setting {name}; {hint}")
    return {name: value for name, value in words.items() if name in SETTINGS and value is not None}


def _stored(folder: Path) -> dict[str, Any]:
    """Older versions write a file for pictures alone, newer ones one for pictures and words."""
    if (folder / SETTINGS_FILE).is_file():
        return read_json(folder / SETTINGS_FILE)
    if (folder / "processor_config.json").is_file():
        stored = read_json(folder / "processor_config.json").get("image_processor")
        if isinstance(stored, dict):
            return stored
    raise CheckpointError(
        f"{folder} has no {SETTINGS_FILE}; copy it from the folder of the original model, or write "
        "one with Kosmos2ImageProcessor().save_pretrained(folder)"
    )


def _known(stored: dict[str, Any]) -> dict[str, Any]:
    """What a file says that means something: older files carry names of classes, keys of keys."""
    return {name: stored[name] for name in (*SETTINGS, "use_square_size") if name in stored}


CLIPImageProcessor = Kosmos2ImageProcessor  # the name in the reference's documents
