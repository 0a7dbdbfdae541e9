"""What a run begins with: a network to go on from or filled by lot, and the words it reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from kosmos2.data.sources import Reader, Source
from kosmos2.errors import InputError, RecipeError
from kosmos2.grounder.kosmos2 import NO_REPEAT_NGRAM_SIZE
from kosmos2.model import Network
from kosmos2.model.decoder import DecoderLayer
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import new_words, vocabulary
from kosmos2.train.learner import start
from kosmos2.train.recipe import Recipe
from kosmos2.train.recipe.data import SCENES
from kosmos2.weights.fetch import resolve
from kosmos2.weights.load import load_network, read_generation_config

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Begun:
    """A network in float32, or rounded already where it will be; its tokenizer; how it answers."""

    network: Network
    tokenizer: Tokenizer
    no_repeat_ngram_size: int
    min_presence: float | None = None
    classes: tuple[str, ...] = ()  # of the labelling exports that are learnt from
    # Sources that are open, each for the whole run; `feed` opens them.
    readers: dict[Source, Reader] = field(default_factory=dict)


def begin(recipe: Recipe) -> Begun:
    """The network that a recipe starts from; a pure function of it, whatever was drawn before.

    Raises:
        InputError: the tokenizer has another size than the vocabulary in the recipe's sizes.
        CheckpointError: no such model.
    """
    torch.manual_seed(recipe.train.seed)
    model = recipe.model
    if model.start != SCRATCH:
        folder = resolve(model.start)
        own = read_generation_config(folder)
        begun = Begun(
            load_network(folder, dtype=torch.float32, quantize=_rounded(recipe)),
            Tokenizer.load(folder),
            own.get("no_repeat_ngram_size", NO_REPEAT_NGRAM_SIZE),
            own.get("min_presence"),
        )
    else:
        begun = _from_nothing(recipe)
    if model.new_words or any(stage.heads == "dense" for stage in recipe.stage):
        begun = replace(begun, classes=new_words.class_names(recipe))
    if model.new_words and (words := new_words.spelled(begun.tokenizer, begun.classes)):
        network, tokenizer = new_words.with_words(
            begun.network, begun.tokenizer, words, recipe.train.seed
        )
        begun = replace(begun, network=network, tokenizer=tokenizer)
    if model.dropout is not None:
        _drop(begun.network, model.dropout)
    return begun


def _rounded(recipe: Recipe) -> str | None:
    """What the weights become while they are read, so that they are never there whole in floats."""
    if recipe.lora is None or recipe.lora.base != "int8":
        return None
    # New words need the floats; only small networks get some, which LoRA rounds afterwards.
    return None if recipe.model.new_words else "int8"


def _from_nothing(recipe: Recipe) -> Begun:
    config = recipe.model.config
    if config is None:
        raise RecipeError("model.config is missing; a network from nothing needs its sizes")
    scenes = recipe.model.tokenizer == SCENES
    tokenizer = vocabulary.build() if scenes else Tokenizer.load(resolve(recipe.model.tokenizer))
    if tokenizer.size != config.text.vocabulary:
        raise InputError(
            f"the tokenizer has {tokenizer.size} words, the recipe's model.config.text.vocabulary "
            f"is {config.text.vocabulary}; give that number, or another model.tokenizer"
        )
    network = Network(config)
    start(network, torch.Generator().manual_seed(recipe.train.seed))
    # The scenes' captions list things ("a cup, a book and a dog"), which repeats runs of three
    # tokens; the released weights' rule against that would cut them short.
    return Begun(network, tokenizer, 0 if scenes else NO_REPEAT_NGRAM_SIZE)


def _drop(network: Network, share: float) -> None:
    """Train with another dropout; the config that is saved keeps its own."""
    text = network.decoder.config
    network.decoder.config = replace(text, dropout=share, attention_dropout=share)
    for layer in network.decoder.layers:
        assert isinstance(layer, DecoderLayer)
        layer.dropout = layer.attention.dropout = share
    network.connector.attention.dropout = share
