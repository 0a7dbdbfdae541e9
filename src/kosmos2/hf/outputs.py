"""What models return: fields to read by name, by key or by position, those that are None left out.

out = model(**inputs)
out.logits, out["logits"], out[0]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from kosmos2.model import Cache


@dataclass(eq=False)
class ModelOutput(Mapping[str, Any]):
    """Named fields, in order; one that is None is an attribute, but no key and no position."""

    def __getitem__(self, key: Any) -> Any:
        """A field by its name, by its place among those that are there, or a slice of these."""
        if not isinstance(key, str):
            return self.to_tuple()[key]
        given = self._given()
        if key not in given:
            raise KeyError(f"{key!r} is not in this {type(self).__name__}; it has {list(given)}")
        return given[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in {field.name for field in fields(self)}:
            raise KeyError(f"{type(self).__name__} has no field {key!r}")
        setattr(self, key, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._given())

    def __len__(self) -> int:
        return len(self._given())

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not None, in order; an output within becomes a tuple too."""
        return tuple(
            value.to_tuple() if isinstance(value, ModelOutput) else value
            for value in self._given().values()
        )

    def _given(self) -> dict[str, Any]:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """What the tower saw: before its last norm, and pooled.

    For whole pictures `pooler_output` is the normed class vector; from `get_image_features` and
    `Kosmos2Model` it is the latents, and `projection_attentions` is how they came about.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    projection_attentions: Tensor | None = None


@dataclass(eq=False)
class Kosmos2ModelOutput(ModelOutput):
    """What `Kosmos2Model` returns: vectors, not yet scores of words."""

    last_hidden_state: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    image_embeds: Tensor | None = None
    projection_attentions: Tensor | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None


@dataclass(eq=False)
class Kosmos2ForConditionalGenerationModelOutput(ModelOutput):
    """What `Kosmos2ForConditionalGeneration` returns when it is called."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    image_embeds: Tensor | None = None
    projection_attentions: Tensor | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None


Steps = tuple[tuple[Tensor, ...], ...]  # of each step, of each layer


@dataclass(eq=False)
class GenerateDecoderOnlyOutput(ModelOutput):
    """What `generate` returns on `return_dict_in_generate`, one answer at a time."""

    sequences: Tensor | None = None
    scores: tuple[Tensor, ...] | None = None
    logits: tuple[Tensor, ...] | None = None
    attentions: Steps | None = None
    hidden_states: Steps | None = None
    past_key_values: Cache | None = None


@dataclass(eq=False)
class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """What `generate` returns on `return_dict_in_generate`, the best of several beams."""

    sequences: Tensor | None = None
    sequences_scores: Tensor | None = None
    scores: tuple[Tensor, ...] | None = None
    logits: tuple[Tensor, ...] | None = None
    beam_indices: Tensor | None = None
    attentions: Steps | None = None
    hidden_states: Steps | None = None
    past_key_values: Cache | None = None
