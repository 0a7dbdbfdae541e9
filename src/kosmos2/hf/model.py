"""The reference's model classes over our network.

    model = Kosmos2ForConditionalGeneration.from_pretrained("microsoft/kosmos-2-patch14-224")
    model(**inputs).logits, model.generate(**inputs, max_new_tokens=64)

Shapes: N pictures, Y by X pixels, L latents of a picture, B rows, T new tokens, S tokens remembered
and new, D text width.
"""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kosmos2.errors import InputError
from kosmos2.hf import arguments
from kosmos2.hf.base import Kosmos2PreTrainedModel
from kosmos2.hf.feeding import Given
from kosmos2.hf.forward import loss_of
from kosmos2.hf.generation.mixin import GenerationMixin
from kosmos2.hf.notices import once
from kosmos2.hf.outputs import Kosmos2ForConditionalGenerationModelOutput, Kosmos2ModelOutput
from kosmos2.model import Cache

__all__ = ["Kosmos2ForConditionalGeneration", "Kosmos2Model", "Kosmos2PreTrainedModel"]

Mask = Bool[Tensor, "B S"] | Int[Tensor, "B S"]
Past = Cache | tuple[tuple[Tensor, Tensor], ...]


class Kosmos2Model(Kosmos2PreTrainedModel):
    """Pictures and text in, vectors out."""

    def forward(
        self,
        pixel_values: Float[Tensor, "N 3 Y X"] | None = None,
        input_ids: Int[Tensor, "B T"] | None = None,
        image_embeds_position_mask: Mask | None = None,
        attention_mask: Mask | None = None,
        past_key_values: Past | None = None,
        image_embeds: Float[Tensor, "N L D"] | None = None,
        inputs_embeds: Float[Tensor, "B T D"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        use_cache: bool | None = None,
        interpolate_pos_encoding: bool = False,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        head_mask: None = None,
        **unknown: Any,
    ) -> Kosmos2ModelOutput | tuple[Any, ...]:
        """Read tokens with what is seen in pictures in their midst.

        See `Kosmos2ForConditionalGeneration.forward` for the arguments.
        """
        _check_words(Kosmos2Model, head_mask, unknown)
        wishes = self._wishes(output_attentions, output_hidden_states)
        given = Given(
            pixels=pixel_values,
            latents=image_embeds,
            ids=input_ids,
            embedded=inputs_embeds,
            slots=image_embeds_position_mask,
            mask=attention_mask,
            positions=position_ids,
            past=past_key_values,
            interpolate=interpolate_pos_encoding,
        )
        seen, heard = self._fed(given, use_cache, wishes)
        output = Kosmos2ModelOutput(
            last_hidden_state=heard.last,
            past_key_values=heard.cache,
            hidden_states=heard.hidden_states,
            attentions=heard.attentions,
            image_embeds=seen.latents,
            projection_attentions=seen.projection,
            vision_model_output=None if seen.tower is None else seen.features(),
        )
        return self._returned(output, return_dict)


class Kosmos2ForConditionalGeneration(Kosmos2PreTrainedModel, GenerationMixin):
    """Pictures and text in, the next words out: their scores, or with `generate` the words."""

    tied = True

    def get_output_embeddings(self) -> nn.Embedding:
        """The output layer, which is the embedding."""
        return self.network.decoder.words

    def forward(
        self,
        pixel_values: Float[Tensor, "N 3 Y X"] | None = None,
        input_ids: Int[Tensor, "B T"] | None = None,
        image_embeds_position_mask: Mask | None = None,
        attention_mask: Mask | None = None,
        past_key_values: Past | None = None,
        image_embeds: Float[Tensor, "N L D"] | None = None,
        inputs_embeds: Float[Tensor, "B T D"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: int | Tensor | None = None,
        head_mask: None = None,
        **unknown: Any,
    ) -> Kosmos2ForConditionalGenerationModelOutput | tuple[Any, ...]:
        """Score the word after each token; with labels, also say how far off the scores are.

        Args:
            pixel_values: the pictures, as the processor makes them, in the order of their places.
            input_ids: the tokens.
            image_embeds_position_mask: where among them latents go: as many places as there are
                latents, row by row; not needed with past_key_values.
            attention_mask: 1 for tokens, 0 for padding, over those remembered and then the new.
            past_key_values: what an earlier call returned, to go on from; it grows in place.
            image_embeds: latents of earlier calls, in place of the pictures.
            inputs_embeds: embedded tokens, not scaled, in place of ids; they stay as they are.
            position_ids: the place of each token, counted from 2; found by themselves otherwise.
            labels: the tokens that should be there, -100 where it does not matter; no cache then.
            use_cache: whether to return past_key_values.
            logits_to_keep: score the last so many tokens only, or those of a tensor.
            interpolate_pos_encoding: take pictures of any size.
            output_attentions: also return how much each vector heard of each.
            output_hidden_states: also return what enters each block.
            return_dict: False returns a tuple.
            num_items_in_batch: divide the loss by this rather than by the labels that count here.
            head_mask: gone from the reference; None only.
            unknown: anything else is refused.

        Raises:
            InputError: anything that does not fit, by name.
        """
        _check_words(Kosmos2ForConditionalGeneration, head_mask, unknown)
        if labels is not None:
            tokens = input_ids if input_ids is not None else inputs_embeds
            self._check_labels(labels, tokens, logits_to_keep)
            if use_cache:
                once("use_cache=True has no effect where labels are given")
            use_cache = False
        wishes = self._wishes(output_attentions, output_hidden_states)
        given = Given(
            pixels=pixel_values,
            latents=image_embeds,
            ids=input_ids,
            embedded=inputs_embeds,
            slots=image_embeds_position_mask,
            mask=attention_mask,
            positions=position_ids,
            past=past_key_values,
            interpolate=interpolate_pos_encoding,
        )
        with nullcontext() if labels is None else self.network.decoder.one_gradient():
            seen, heard = self._fed(given, use_cache, wishes)
            scores = self.network.decoder.logits(arguments.kept(heard.last, logits_to_keep))
        output = Kosmos2ForConditionalGenerationModelOutput(
            loss=None if labels is None else loss_of(scores, labels, num_items_in_batch),
            logits=scores.to(heard.last.dtype),
            past_key_values=heard.cache,
            hidden_states=heard.hidden_states,
            attentions=heard.attentions,
            image_embeds=seen.latents,
            projection_attentions=seen.projection,
            vision_model_output=seen.tower,
        )
        return self._returned(output, return_dict)

    def _check_labels(self, labels: Tensor, tokens: Any, logits_to_keep: int | Tensor) -> None:
        if isinstance(logits_to_keep, Tensor) or logits_to_keep:
            raise InputError("labels need the scores of all tokens; leave logits_to_keep out")
        if isinstance(tokens, Tensor):  # otherwise it is refused in a moment
            arguments.check_labels(labels, tokens.shape[:2], self.network.config.text.vocabulary)


def _check_words(
    kind: type[Kosmos2PreTrainedModel], head_mask: Any, unknown: dict[str, Any]
) -> None:
    if head_mask is not None:
        raise InputError(
            "head_mask is not offered, as in the reference since version 5; leave it out or None"
        )
    if unknown:
        hidden = ("self", "unknown", "head_mask")
        known = inspect.signature(kind.forward).parameters
        arguments.check_words(unknown, [name for name in known if name not in hidden])
