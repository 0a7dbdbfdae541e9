"""What is wanted of `generate`: the reference's GenerationConfig, and what of it there is here.

A field that nobody set has its default and may still be filled from elsewhere; `given` tells which
were set. Setting one to None takes it back. A call's own words, laid over a configuration by
`merged`, are final: there None means off, whatever the model's own file says.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.hf.folders import HARMLESS, folder_of
from kosmos2.hf.generation.allowed import NOT_OFFERED, RULES, THERE_IS, checked
from kosmos2.hf.notices import once
from kosmos2.weights.load import read_generation_config
from kosmos2.weights.stored import read_json

FILE = "generation_config.json"
# What does nothing until something else is set: that, how to say it, and what waits for it.
_NEEDED = (
    ("do_sample", "do_sample=True", {"temperature", "top_k", "top_p", "min_p"}),
    ("num_beams", "num_beams above 1", {"length_penalty", "early_stopping"}),
    (
        "return_dict_in_generate",
        "return_dict_in_generate=True",
        {"output_scores", "output_logits", "output_attentions", "output_hidden_states"},
    ),
)


class GenerationConfig:
    """Settings of `generate`, under the reference's names.

    Unknown names are refused, except in a file, where they are kept and otherwise ignored.
    """

    max_length: int = 20  # of prompt and answer; counts the answer alone while nobody set it
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    do_sample: bool = False
    num_beams: int = 1
    num_return_sequences: int = 1
    temperature: float = 1.0
    top_k: int = 50  # 0 keeps all
    top_p: float = 1.0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    use_cache: bool = True
    output_scores: bool = False
    output_logits: bool = False
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict_in_generate: bool = False
    suppress_tokens: list[int] | None = None
    bad_words_ids: list[list[int]] | None = None
    renormalize_logits: bool = False
    seed: int | None = None  # ours: answers that can be had again, whatever was drawn before

    def __init__(self, **fields: Any) -> None:
        """Take the fields that are not None.

        Raises:
            ConfigError: an unknown name, an impossible value, or something not offered here.
        """
        for name, value in fields.items():
            setattr(self, name, value)
        self._check(fields)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """A configuration from what a file holds."""
        config = cls()
        for name, value in values.items():
            if name in RULES or name in NOT_OFFERED:
                setattr(config, name, value)
            elif value is not None:
                vars(config)[name] = value
        config._check(())
        return config.merged(**overrides) if overrides else config

    @classmethod
    def from_model_config(cls, config: Any) -> Self:
        """What a network's own configuration says: special ids, and the n-grams of old files."""
        values = config if isinstance(config, Mapping) else config.to_dict()
        text = values.get("text_config") or values
        names = ("bos_token_id", "eos_token_id", "pad_token_id", "no_repeat_ngram_size")
        return cls(**{name: text.get(name) for name in names})

    @classmethod
    def of_folder(cls, folder: str | PathLike[str]) -> Self:
        """The generation settings that a folder brings, in whichever of its files.

        Raises:
            CheckpointError: they cannot be read, or cannot be obeyed.
        """
        folder = Path(folder)
        alone = (folder / FILE).is_file() and not (folder / "config.json").exists()
        values = read_json(folder / FILE) if alone else read_generation_config(folder)
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise CheckpointError(f"the generation settings in {folder}: {error}") from error

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], **overrides: Any) -> Self:
        """The generation settings of a folder or a model of the hub."""
        hub = HARMLESS | {"revision", "local_files_only"}
        where = {word: overrides.pop(word) for word in hub & overrides.keys()}
        return cls.of_folder(folder_of(name, **where)).merged(**overrides)

    @classmethod
    def of(cls, config: Any) -> Self:
        """A configuration of ours, of the reference, or a dict; None is one where nothing is set.

        Raises:
            ConfigError: it is none of these.
        """
        if isinstance(config, cls):
            return config
        if config is None:
            return cls()
        if isinstance(config, Mapping):
            return cls(**config)
        if not hasattr(config, "model_type"):  # which a network's configuration has
            for way in ("to_diff_dict", "to_dict"):  # in older versions only the first leaves out
                if hasattr(config, way):  # what nobody set
                    return cls.from_dict(getattr(config, way)())
        raise ConfigError(
            f"generation_config is {type(config).__name__}; give a GenerationConfig, or the "
            "settings themselves as keyword arguments"
        )

    @property
    def given(self) -> frozenset[str]:
        """The fields that somebody set."""
        return frozenset(vars(self))

    def merged(self, **words: Any) -> Self:
        """A copy in which a call's words count most; None switches a setting off.

        Raises:
            ConfigError: an unknown name, an impossible value, or something not offered here.
        """
        config = self.copy()
        for name, value in words.items():
            setattr(config, name, 0 if name == "top_k" and value is None else value)
        config._check(words)
        return config

    def filled_from(self, other: GenerationConfig) -> Self:
        """A copy in which fields that nobody set are taken from another configuration."""
        config = self.copy()
        vars(config).update({**copy.deepcopy(vars(other)), **vars(config)})
        return config  # not checked: a call's words may yet settle what does not go together

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write generation_config.json: the fields that somebody set."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / FILE).write_text(self.to_json_string(), encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Every field, None for those that nobody set, and what else the file held."""
        unset = {name: None for name in RULES if name != "seed"}  # the reference knows no seed
        return unset | self.to_diff_dict()

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that somebody set, and what else the file held."""
        return copy.deepcopy(vars(self))

    def to_json_string(self) -> str:
        """The fields that somebody set, as they are saved."""
        return json.dumps(self.to_diff_dict(), indent=2, sort_keys=True) + "\n"

    def copy(self) -> Self:
        """One that can be changed without changing this one."""
        return copy.deepcopy(self)

    def __setattr__(self, name: str, value: Any) -> None:
        value = checked(name, value)
        if value is None:
            vars(self).pop(name, None)
        else:
            vars(self)[name] = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    def _check(self, words: Iterable[str]) -> None:
        """Refuse fields that contradict each other; mention those of a call that do nothing."""
        beams, answers = self.num_beams, self.num_return_sequences
        if self.do_sample and beams > 1:
            raise ConfigError(
                f"do_sample=True with num_beams={beams}: beam sampling is not offered; {THERE_IS}"
            )
        if self.do_sample and self.temperature == 0:
            raise ConfigError(
                "temperature is 0, which cannot be sampled at; for the likeliest words leave "
                "do_sample at False"
            )
        if answers > beams and not self.do_sample:
            raise ConfigError(
                f"num_return_sequences is {answers} but num_beams is {beams}; raise num_beams, or "
                "sample with do_sample=True"
            )
        most, least = self.max_new_tokens, self.min_new_tokens
        if most is not None and least is not None and least > most:
            raise ConfigError(f"min_new_tokens {least} is above max_new_tokens {most}")
        for needed, saying, idle in _NEEDED:
            if getattr(self, needed) == getattr(GenerationConfig, needed):
                for name in idle & set(words) & self.given:
                    if getattr(self, name) != getattr(GenerationConfig, name):
                        once(f"{name} has no effect without {saying}")
