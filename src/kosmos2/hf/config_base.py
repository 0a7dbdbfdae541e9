"""What the three configurations share: fields with defaults, second names, and a file.

A class lists its fields as annotated attributes, an instance holds the values that were given. What
is no field is kept and otherwise ignored: files of older versions carry some forty such values.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self, get_origin, get_type_hints

import torch

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.hf.folders import HARMLESS, folder_of
from kosmos2.hf.notices import once
from kosmos2.weights.stored import read_json

FILE = "config.json"
ALIKE = 0.95  # how much a name must look like a field's to be taken for a slip of the pen


class PreTrainedConfig:
    """Fields that every configuration has, and what can be done with all of them."""

    model_type: ClassVar[str] = ""
    base_config_key: ClassVar[str] = ""  # the section of a whole model's file that this one is
    attribute_map: ClassVar[dict[str, str]] = {
        "torch_dtype": "dtype",
        "use_return_dict": "return_dict",
        "name_or_path": "_name_or_path",
        "attn_implementation": "_attn_implementation",
    }

    _known: ClassVar[dict[str, Any]]

    architectures: list | None = None
    dtype: torch.dtype | None = None
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True
    chunk_size_feed_forward: int = 0
    is_encoder_decoder: bool = False
    _name_or_path: str = ""
    _attn_implementation: str | dict | None = None

    def __init__(self, **settings: Any) -> None:
        """Take what is given; a field that is None has its default.

        Raises:
            ConfigError: another kind of model, a value of the wrong type, or two names of one field
                with different values.
        """
        kind = settings.pop("model_type", None)
        if kind not in (None, self.model_type):
            raise ConfigError(
                f"model_type is {kind!r}; {type(self).__name__} describes {self.model_type!r} only"
            )
        for name, value in settings.items():
            field = self.attribute_map.get(name, name)
            earlier, checked = vars(self).get(field), self._checked(field, value)
            if earlier is not None and checked is not None and earlier != checked:
                raise ConfigError(
                    f"{name} is {checked!r} but {field}, the same thing, is {earlier!r}; "
                    "give one of them"
                )
            vars(self)[field] = earlier if checked is None else checked
            self._mention_slip(field)

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Every field and its default."""
        return {name: getattr(cls, name, None) for name in cls._kinds()}

    @classmethod
    def _kinds(cls) -> dict[str, Any]:
        """The fields, with the types that their values can have."""
        if "_known" not in vars(cls):
            hints = get_type_hints(cls).items()
            cls._known = {n: hint for n, hint in hints if get_origin(hint) is not ClassVar}
        return cls._known

    @classmethod
    def of(cls, value: Any) -> Self:
        """A configuration from one of ours, one of the reference's, a dict, or nothing."""
        if isinstance(value, cls):
            return value
        if value is not None and hasattr(value, "to_dict"):
            value = value.to_dict()
        if value is None or isinstance(value, Mapping):
            return cls(**(value or {}))
        raise ConfigError(
            f"{type(value).__name__} is no {cls.__name__}; give one, or a dict of its fields"
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Any:
        """A configuration from what a file holds, with some fields given anew.

        With `return_unused_kwargs=True` also returns what is no field, which is otherwise refused.

        Raises:
            ConfigError: as when it is built.
        """
        return cls(**values)._overridden(**overrides)

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], **overrides: Any) -> Any:
        """The configuration of a folder or a model of the hub, with some fields given anew.

        Raises:
            CheckpointError: there is none, or it describes another kind of model.
        """
        hub = HARMLESS | {"revision", "local_files_only"}
        where = {word: overrides.pop(word) for word in hub & overrides.keys()}
        file = folder_of(name, **where) / FILE
        values = read_json(file)
        part = values.get(cls.base_config_key)
        try:
            config = cls.of(part if isinstance(part, dict) else values)
        except ConfigError as error:
            raise CheckpointError(f"{file}: {error}") from error
        return config._overridden(**overrides)

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write config.json, which the reference reads too."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / FILE).write_text(self.to_json_string(), encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Every field, and what else was given, as plain values."""
        values = {**self.fields(), **vars(self), "model_type": self.model_type}
        del values["_attn_implementation"]  # how it is computed here, not what it is
        return {name: _plain(value) for name, value in values.items()}

    def to_diff_dict(self) -> dict[str, Any]:
        """The same without the fields that every model has, where they have their defaults."""
        common, values = PreTrainedConfig.fields(), self.to_dict()
        for name, value in vars(self).items():
            if isinstance(value, PreTrainedConfig):
                values[name] = value.to_diff_dict()
        return {
            name: value
            for name, value in values.items()
            if name not in common or value != common[name]
        }

    def to_json_string(self, use_diff: bool = True) -> str:
        """The text of config.json."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several fields; a dict changes what it names of a section, and leaves the rest."""
        for name, value in values.items():
            section = getattr(self, name, None)
            if isinstance(section, PreTrainedConfig) and isinstance(value, Mapping):
                section.update(value)
            else:
                setattr(self, name, value)

    def copy(self) -> Self:
        """One that can be changed without changing this one."""
        return copy.deepcopy(self)

    def __setattr__(self, name: str, value: Any) -> None:
        field = self.attribute_map.get(name, name)
        vars(self)[field] = self._checked(field, value)

    def __getattr__(self, name: str) -> Any:  # only what is not found otherwise
        field = type(self).attribute_map.get(name)
        if field is None:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        return getattr(self, field)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    def _overridden(self, *, return_unused_kwargs: bool = False, **overrides: Any) -> Any:
        """The same with fields given anew, and perhaps with what was given and is no field."""
        known = {*self.fields(), *self.attribute_map, *vars(self)}
        unused = {name: value for name, value in overrides.items() if name not in known}
        for name in unused if not return_unused_kwargs else ():
            near = get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise ConfigError(f"{type(self).__name__} has no field {name!r}; {hint}")
        for name, value in overrides.items():
            as_stored = name in ("dtype", "torch_dtype") and value == "auto"
            if name in known and not as_stored:
                self.update({name: value})
        return (self, unused) if return_unused_kwargs else self

    def _checked(self, field: str, value: Any) -> Any:
        """The value as the field holds it, if it is of a type that the field can have."""
        if field not in self._kinds():
            return value
        kind, default = self._kinds()[field], getattr(type(self), field, None)
        if isinstance(kind, type) and issubclass(kind, PreTrainedConfig):
            return kind.of(value)
        if field == "dtype" and isinstance(value, str):
            value = getattr(torch, value.removeprefix("torch."), value)
        if value is None:
            return value if isinstance(value, kind) else default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = getattr(kind, "__name__", None) or str(kind).replace(" | ", " or ")
            raise ConfigError(
                f"{field} of {type(self).__name__} is {value!r}, a {type(value).__name__}; "
                f"give {wanted}"
            )
        return value

    def _mention_slip(self, name: str) -> None:
        if name not in self._kinds():
            known = [*self.fields(), *self.attribute_map]
            near = get_close_matches(name, known, n=1, cutoff=ALIKE)
            if near:
                once(
                    f"{name} is no field of {type(self).__name__} and changes nothing; "
                    f"did you mean {near[0]}?"
                )


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
