"""`generate`: from tensors as the processor makes them to tensors of ids, as in the reference.

Shapes: B prompts, T tokens of a prompt, N pictures in all prompts together, S picture side,
L latents, D text width, R answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from kosmos2.errors import ConfigError, InputError
from kosmos2.hf.generation.beams import write_beams
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.hf.generation.limits import ends_of, limit_of, pad_of
from kosmos2.hf.generation.prompt import Prompt, describe, prompt_of
from kosmos2.hf.generation.reader import Reader, Record
from kosmos2.hf.generation.rules import callables, rules_of
from kosmos2.hf.generation.search import Search, write
from kosmos2.hf.generation.stopping import Stopping
from kosmos2.hf.notices import once
from kosmos2.hf.outputs import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput
from kosmos2.model import Network

TRANSFORMERS_5 = "transformers-5"

# What the reference takes besides, and why it can be left out here. None is always fine.
NOT_TAKEN = {
    "assistant_tokenizer": "there is no assisted generation",
    "head_mask": "every head is used",
    "labels": "call the model itself for a loss",
    "past_key_values": "give the whole prompt; the cache of an answer is for `forward`",
    "position_ids": "positions are counted from the attention_mask",
    "return_dict": "say return_dict_in_generate",
    "tokenizer": "there are no stop_strings; decode the answer and cut it, or use a criterion",
    "trust_remote_code": "no code is loaded",
}


class GenerationMixin:
    """What a model needs to be asked: a `network`, and settings where a call has none."""

    network: Network
    generation_config: GenerationConfig
    compat: str | None

    def generate(
        self,
        pixel_values: Tensor | None = None,
        image_embeds_position_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_embeds: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | Mapping[str, Any] | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        streamer: Any = None,
        generator: Generator | None = None,
        seed: int | None = None,
        max_time: float | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Any,
    ) -> Int[Tensor, "R T"] | GenerateDecoderOnlyOutput | GenerateBeamDecoderOnlyOutput:
        """Answer prompts about pictures.

        Prompts may be padded on either side: each is answered as if it had come alone, and the
        answers follow the prompts as they were given. A row that is over goes on as padding. With
        `compat="transformers-5"` padding counts as it does there, and spoils what it spoils there.

        Args:
            pixel_values: Pictures, [N 3 S S].
            image_embeds_position_mask: The slots in the prompts that they go to, [B T].
            input_ids: The prompts, [B T].
            attention_mask: Which of their tokens are not padding, [B T].
            image_embeds: What was seen of the pictures before, [N L D]; they are not needed then.
            inputs_embeds: Prompts as embeddings, not scaled, [B T D]; answers alone come back
                unless `input_ids` come with them.
            inputs: Another name for `pixel_values`.
            generation_config: Settings; those of the model hold where it has none.
            logits_processor: Functions of all ids so far and the scores, that return scores.
            stopping_criteria: Functions of all ids so far and the kept scores, that return whether
                to stop: a bool, or one for each row.
            streamer: Is given the prompts, then each new token: anything with `put` and `end`.
            generator: Where chance comes from.
            seed: Answers that can be had again; without it and `generator`, torch's own state.
            max_time: Seconds after which answers end as they are.
            interpolate_pos_encoding: Admit pictures of another size than the model's.
            **kwargs: Settings of `GenerationConfig` for this call.

        Returns:
            Prompts and answers, [R T]; with `return_dict_in_generate` an output that holds them as
            `sequences`, with whatever else was asked for.

        Raises:
            InputError: a tensor that is missing, too many, or of another shape.
            ConfigError: an unknown setting or one that cannot be.
            EngineError: generation that cannot go on; the message says where.
        """
        for name in ("put", "end") if streamer is not None else ():
            if not callable(getattr(streamer, name, None)):
                raise InputError(f"the streamer {streamer!r} has no {name}(); give a TextStreamer")
        try:
            with torch.no_grad():
                config = self._settings(generation_config, {"seed": seed, **kwargs}, max_time)
                if config.num_beams > 1 and streamer is not None:
                    raise InputError("beams are searched, not streamed; leave num_beams at 1")
                search = self._search(
                    config,
                    self._prompt(
                        config,
                        pixels=_either(pixel_values, inputs),
                        ids=input_ids,
                        mask=attention_mask,
                        slots=image_embeds_position_mask,
                        latents=image_embeds,
                        embedded=inputs_embeds,
                        interpolate=interpolate_pos_encoding,
                    ),
                    logits_processor,
                    stopping_criteria,
                    max_time,
                )
                answer = _answered(search, config, self._chance(config, generator), streamer)
        finally:
            # Also when something went wrong, or whoever reads the stream would wait for ever.
            if streamer is not None:
                streamer.end()
        assert answer.sequences is not None
        if input_ids is not None:
            answer.sequences = answer.sequences.to(input_ids.device)
        return answer if config.return_dict_in_generate else answer.sequences

    def _settings(
        self, given: Any, words: dict[str, Any], max_time: float | None
    ) -> GenerationConfig:
        own = [*inspect.signature(GenerationMixin.generate).parameters]
        for name in [*words]:
            if name in NOT_TAKEN:
                if words.pop(name) is not None:
                    raise ConfigError(f"generate takes no {name}: {NOT_TAKEN[name]}")
            elif not hasattr(GenerationConfig, name) and (
                near := get_close_matches(name, own, n=1, cutoff=0.8)
            ):
                raise ConfigError(f"generate has no argument {name!r}; did you mean {near[0]}?")
        if max_time is not None and not max_time > 0:
            raise ConfigError(f"max_time is {max_time}; give seconds above 0")
        if words["seed"] is None:
            del words["seed"]
        return GenerationConfig.of(given).filled_from(self.generation_config).merged(**words)

    def _prompt(
        self,
        config: GenerationConfig,
        *,
        pixels: Tensor | None,
        ids: Tensor | None,
        mask: Tensor | None,
        slots: Tensor | None,
        latents: Tensor | None,
        embedded: Tensor | None,
        interpolate: bool,
    ) -> Prompt:
        network = self.network
        if network.training:
            once("the model is in training mode, so answers vary by dropout; call model.eval()")
        if latents is None:
            if pixels is None:
                raise InputError(
                    "there is no picture; pass pixel_values, as the processor returns them, or "
                    "image_embeds"
                )
            if not isinstance(pixels, Tensor):
                raise InputError(
                    f"pixel_values are {type(pixels).__name__}, not a tensor; call the processor "
                    "with return_tensors='pt'"
                )
            pixels = pixels.to(network.device, network.dtype)
            latents = network.look(pixels, interpolate=interpolate)
        elif not isinstance(latents, Tensor) or latents.shape[-1:] != (network.config.text.width,):
            raise InputError(
                f"image_embeds are {describe(latents)}; give a tensor of pictures x latents x "
                f"{network.config.text.width}"
            )
        return prompt_of(
            network,
            ids=ids,
            embedded=embedded,
            mask=mask,
            slots=slots,
            latents=latents,
            pad=config.pad_token_id,
            ends=ends_of(config),
            as_reference=self.compat == TRANSFORMERS_5,
        )

    def _search(
        self,
        config: GenerationConfig,
        prompt: Prompt,
        users: Any,
        criteria: Any,
        max_time: float | None,
    ) -> Search:
        text, ends = self.network.config.text, ends_of(config)
        copies = max(config.num_beams, config.num_return_sequences)
        repeated = prompt.repeated(copies)
        kept = config.return_dict_in_generate
        record = Record(
            **{
                name: [] if kept and getattr(config, f"output_{name}") else None
                for name in ("scores", "logits", "attentions", "hidden_states")
            }
        )
        # Embeddings have to be remembered: what is written after them comes as ids.
        cached = config.use_cache or not prompt.seen.shape[1]
        return Search(
            reader=Reader(self.network, prompt, record, cached=cached),
            prompt=repeated,
            rules=rules_of(
                config,
                repeated,
                users=callables("logits_processor", users),
                ends=ends,
                vocabulary=text.vocabulary,
            ),
            stopping=Stopping(
                ends=ends,
                limit=limit_of(config, prompt.width, text.positions),
                max_time=max_time,
                criteria=callables("stopping_criteria", criteria),
            ),
            pad=pad_of(config),
            copies=copies,
        )

    def _chance(self, config: GenerationConfig, generator: Generator | None) -> Generator | None:
        if config.seed is None:
            return generator
        if generator is not None:
            raise InputError("seed and generator are both given; choose one of them")
        return Generator(self.network.device).manual_seed(config.seed)


def _answered(
    search: Search, config: GenerationConfig, random: Generator | None, streamer: Any
) -> GenerateDecoderOnlyOutput | GenerateBeamDecoderOnlyOutput:
    reader = search.reader
    if config.num_beams == 1:
        ids = write(search, sample=config.do_sample, random=random, streamer=streamer)
        return GenerateDecoderOnlyOutput(
            sequences=ids, past_key_values=reader.cache, **reader.record.tuples()
        )
    found = write_beams(search, config)
    scored = reader.record.scores is not None
    return GenerateBeamDecoderOnlyOutput(
        sequences=found.ids,
        sequences_scores=found.scores if scored else None,
        beam_indices=found.rows,
        past_key_values=reader.cache,
        **reader.record.tuples(),
    )


def _either(pixel_values: Tensor | None, inputs: Tensor | None) -> Tensor | None:
    if pixel_values is not None and inputs is not None:
        raise InputError(
            "pixel_values and inputs are both given, and mean the same here; keep pixel_values"
        )
    return inputs if pixel_values is None else pixel_values
