"""KOSMOS-2 as one object, its tasks as verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, overload

import torch

from kosmos2.config import Config
from kosmos2.errors import ConfigError, InputError, PromptError
from kosmos2.grounder import closer as closer_look
from kosmos2.grounder import retelling, tasks
from kosmos2.grounder.locating import TRIES, Located, located
from kosmos2.grounder.looks import Looks, weights_of
from kosmos2.grounder.reading import Ask
from kosmos2.grounder.run import Runner
from kosmos2.grounder.seen import Seen
from kosmos2.grounder.stream import Streams
from kosmos2.images import Picture, Source, open_picture
from kosmos2.model import Network
from kosmos2.options import Options
from kosmos2.processor import Processor
from kosmos2.prompts import Boxes
from kosmos2.result import Grounded
from kosmos2.tokenizer import Tokenizer
from kosmos2.weights.fetch import resolve
from kosmos2.weights.load import load_network, read_generation_config
from kosmos2.weights.save import save_network

# The original demo's, and every script's of its authors; the released folder may not say so.
NO_REPEAT_NGRAM_SIZE = 3
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

OneImage = Source | Seen
Images = Sequence[OneImage]


class Kosmos2:
    """A loaded model.

    Every verb takes one picture and gives one answer, or a list and gives a list. A picture is a
    path, a file's bytes, a PIL image, a uint8 array, or one already seen. Generation settings
    (`kosmos2.Options`) are keyword arguments of every verb.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        *,
        name: str = "",
        no_repeat_ngram_size: int = NO_REPEAT_NGRAM_SIZE,
        min_presence: float | None = None,
        batch: int = 16,
    ) -> None:
        if not isinstance(batch, int) or batch < 1:
            raise ConfigError(f"batch is {batch!r}; give a whole number of at least 1")
        self.name = name
        self.batch = batch
        self.no_repeat_ngram_size = no_repeat_ngram_size
        self.min_presence = min_presence
        self.runner = Runner(
            network.eval(),
            Processor(tokenizer, network.config),
            no_repeat_ngram_size=no_repeat_ngram_size,
            min_presence=min_presence,
            model=name,
            batch=batch,
        )
        self._looks = Looks()

    @classmethod
    def load(
        cls,
        model: str | Path = "demo",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        quantize: str | None = None,
        adapter: str | Path | None = None,
        revision: str | None = None,
        offline: bool | None = None,
        batch: int = 16,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Load a model.

        Args:
            model: "demo" (the small one inside the package), a folder, or a hub name such as
                "microsoft/kosmos-2-patch14-224".
            device: None takes a GPU if there is one.
            dtype: None takes float32 on a CPU and bfloat16 on a GPU.
            quantize: "int8" or "int4" rounds the large matrices while they are loaded: a quarter
                of float32's memory and less, and several times as fast on a CPU, for answers that
                may differ a little. (A GPU gains nothing from it yet.)
            adapter: a folder with a LoRA adapter of this model, which is merged into it.
            revision: of a hub name: branch, tag or commit.
            offline: never ask the network; None does as HF_HUB_OFFLINE says.
            batch: most answers that are written side by side.
            on_progress: called with bytes done and bytes known of while downloading.

        Raises:
            CheckpointError: no such model, or files that are not what they should be.
            ConfigError: a device, dtype or way to quantise that does not exist here.
        """
        place = _device(device)
        kind = _dtype(dtype, place)
        folder = resolve(model, revision=revision, offline=offline, on_progress=on_progress)
        own = read_generation_config(folder)
        return cls(
            load_network(
                folder, device=place, dtype=kind, quantize=quantize, pack=True, adapter=adapter
            ),
            Tokenizer.load(folder),
            name=str(model),
            no_repeat_ngram_size=own.get("no_repeat_ngram_size", NO_REPEAT_NGRAM_SIZE),
            min_presence=own.get("min_presence"),
            batch=batch,
        )

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write weights, settings and tokenizer in the layout of the reference library."""
        rules: dict[str, Any] = {"no_repeat_ngram_size": self.no_repeat_ngram_size}
        if self.min_presence is not None:
            rules["min_presence"] = self.min_presence
        save_network(folder, self.network, dtype=dtype, generation=rules)
        self.runner.processor.save(folder)

    @property
    def network(self) -> Network:
        """The network itself."""
        return self.runner.network

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""
        return self.runner.processor.tokenizer

    @property
    def config(self) -> Config:
        """The network's sizes."""
        return self.network.config

    @property
    def stream(self) -> Streams:
        """The same verbs for one picture, as iterators of words and entities."""
        return Streams(self)

    @overload
    def see(self, image: OneImage) -> Seen: ...
    @overload
    def see(self, image: list[OneImage] | tuple[OneImage, ...]) -> list[Seen]: ...
    def see(self, image: Any) -> Any:
        """Look at a picture, or at several, once; ask about it as often as you like.

        The last pictures are remembered by their content, so the same one again costs nothing.

        Raises:
            ImageError: one that cannot be read; nothing was looked at.
            InputError: one that another model has seen.
        """
        if not isinstance(image, list | tuple):
            return self.see([image])[0]
        for one in image:
            if isinstance(one, Seen) and one.by is not self.network:
                raise InputError(
                    f"{one.picture.name} was seen by another model; give the picture itself"
                )
        opened = [one if isinstance(one, Seen) else open_picture(one) for one in image]
        weights = weights_of(self.network)
        latents: dict[Picture, torch.Tensor] = {}
        fresh: list[Picture] = []
        for picture in dict.fromkeys(one for one in opened if isinstance(one, Picture)):
            known = self._looks.get((picture.digest, weights))
            if known is None:
                fresh.append(picture)
            else:
                latents[picture] = known
        for first in range(0, len(fresh), self.batch):
            part = fresh[first : first + self.batch]
            for picture, latent in zip(part, self._look(part), strict=True):
                latents[picture] = latent
                self._looks.put((picture.digest, weights), latent)
        return [
            one if isinstance(one, Seen) else Seen(one, latents[one], by=self.network)
            for one in opened
        ]

    @overload
    def caption(
        self,
        image: OneImage,
        *,
        detailed: bool = ...,
        grounded: bool = ...,
        closer: bool = ...,
        **how: Any,
    ) -> Grounded: ...
    @overload
    def caption(
        self,
        image: Images,
        *,
        detailed: bool = ...,
        grounded: bool = ...,
        closer: bool = ...,
        **how: Any,
    ) -> list[Grounded]: ...
    def caption(
        self,
        image: Any,
        *,
        detailed: bool = False,
        grounded: bool = True,
        closer: bool = False,
        **how: Any,
    ) -> Any:
        """Say what is in the picture, in a few words or in detail, with boxes or without.

        With `closer`, each thing that was named is looked at again; one that is surer under another
        name gets that name, and the rest is written again from there. In a detailed caption a last
        sentence tells what only a closer look at each quarter of the picture shows. It takes
        several times as long.

        Raises:
            PromptError: `closer` without boxes.
        """
        if closer and not grounded:
            raise PromptError("a closer look needs boxes to look at; leave out grounded=False")
        if not closer:
            return self._each(
                image, lambda seen: tasks.caption(seen, detailed=detailed, grounded=grounded), how
            )
        many = isinstance(image, list | tuple)
        seen = self.see(list(image) if many else [image])
        answers = retelling.caption(self, seen, detailed=detailed, options=Options.of(**how))
        return answers if many else answers[0]

    @overload
    def ground(
        self, image: OneImage, phrases: str | Sequence[str], **settings: Any
    ) -> Grounded: ...
    @overload
    def ground(
        self, image: Images, phrases: str | Sequence[str], **settings: Any
    ) -> list[Grounded]: ...
    def ground(self, image: Any, phrases: str | Sequence[str], **settings: Any) -> Any:
        """Find what a phrase names, or each of several phrases.

        Every phrase is an entity of the answer; one that was tied to nothing has no boxes. The
        picture is looked at once, and read once, for all of them.

        Whether a phrase is tied to something is a choice between words, and the model's to make.
        With `min_presence` it is the caller's: 0 where all phrases are known to be there, more
        where a wrong box is worse than none. `locate` tells the number that is compared with it.

        A model says one box for "a cat" though there are three. With `every=True` it is made to go
        on until it repeats itself; what it then is not sure of is left out. Where the embedded
        model found 42 % of the cats (precision 0.89), it finds 63 % (0.91); where there is one cat
        only, precision falls from 0.94 to 0.82. (114 scenes of seed 991, several things of a kind.)
        """
        options = Options.of(**settings)
        several = [phrases] if isinstance(phrases, str) else list(phrases)
        many = isinstance(image, list | tuple)
        seen = self.see(list(image) if many else [image])
        asks = [ask for one in seen for ask in tasks.ground(one, several)]
        answers = self.answer(asks, options)
        named = [tasks.found(a, phrase) for a, phrase in zip(answers, several * len(seen))]
        count = len(several)
        merged = [tasks.together(named[i : i + count]) for i in range(0, len(named), count)]
        return merged if many else merged[0]

    @overload
    def locate(
        self,
        image: OneImage,
        phrase: str,
        *,
        best: int = ...,
        refine: bool = ...,
        overlap: float = ...,
        closer: bool = ...,
    ) -> Located: ...
    @overload
    def locate(
        self,
        image: OneImage,
        phrase: list[str] | tuple[str, ...],
        *,
        best: int = ...,
        refine: bool = ...,
        overlap: float = ...,
        closer: bool = ...,
    ) -> list[Located]: ...
    def locate(
        self,
        image: OneImage,
        phrase: Any,
        *,
        best: int = 5,
        refine: bool = True,
        overlap: float = 0.5,
        closer: bool = False,
    ) -> Any:
        """Say where a phrase may be: the best few boxes, a heat map, and whether it is there.

        All places are weighed at once, where `ground` takes the likeliest upper-left corner and
        then the likeliest lower-right one.

        Args:
            image: one picture.
            phrase: what to look for; a list gives a list.
            best: most boxes; they come with the likeliest first, and may be fewer.
            refine: whether each edge is moved within its cell, to where the probabilities of the
                neighbouring cells put it. `ground` names cells of 32 to a side. On scenes that the
                embedded model never saw this raises the mean overlap (IoU) from 0.819 to 0.861
                (628 phrases, results/refine.json).
            overlap: boxes that overlap a better one by more are left out.
            closer: look again at the part of the picture around the best box. Edges and presence
                of small things become surer, for another look at each phrase that may be there. The
                map stays that of the first look.

        Raises:
            InputError: several pictures, no phrase, or numbers that cannot be.
        """
        if isinstance(image, list | tuple):
            raise PromptError("phrases are located in one picture at a time; give one, not a list")
        if not isinstance(best, int) or isinstance(best, bool) or best < 1:
            raise InputError(f"best is {best!r}; give a whole number of at least 1")
        if not isinstance(overlap, int | float) or not 0 <= overlap <= 1:
            raise InputError(f"overlap is {overlap!r}; give a number from 0 to 1")
        phrases = [phrase] if isinstance(phrase, str) else list(phrase)
        seen = self.see(image)
        asks = tasks.ground(seen, phrases)
        # A box has one of the first corners that are tried, so more boxes want more of them.
        corners = self.runner.corners(asks, tries=max(TRIES, best))
        found = [
            located(asked, each, best=best, refine=refine, overlap=overlap)
            for asked, each in zip(phrases, corners, strict=True)
        ]
        if closer:
            found = closer_look.locate(self, seen, found, refine=refine, overlap=overlap)
        return found[0] if isinstance(phrase, str) else found

    @overload
    def describe(
        self, image: OneImage, box: Boxes, *, grounded: bool = ..., closer: bool = ..., **how: Any
    ) -> Grounded: ...
    @overload
    def describe(
        self, image: Images, box: Boxes, *, grounded: bool = ..., closer: bool = ..., **how: Any
    ) -> list[Grounded]: ...
    def describe(
        self, image: Any, box: Boxes, *, grounded: bool = True, closer: bool = False, **how: Any
    ) -> Any:
        """Say what stands in a box (x1, y1, x2, y2 as fractions of the picture).

        With `closer`, the part of the picture around the box is looked at instead of all of it:
        worth its look where the box is small.
        """
        if not closer:
            return self._each(image, lambda seen: tasks.describe(seen, box, grounded=grounded), how)
        many = isinstance(image, list | tuple)
        seen = self.see(list(image) if many else [image])
        options = Options.of(**how)
        answers = closer_look.describe(self, seen, box, grounded=grounded, options=options)
        return answers if many else answers[0]

    @overload
    def ask(
        self,
        image: OneImage,
        question: str,
        boxes: Boxes | None = ...,
        *,
        grounded: bool = ...,
        **settings: Any,
    ) -> Grounded: ...
    @overload
    def ask(
        self,
        image: Images,
        question: str,
        boxes: Boxes | None = ...,
        *,
        grounded: bool = ...,
        **settings: Any,
    ) -> list[Grounded]: ...
    def ask(
        self,
        image: Any,
        question: str,
        boxes: Boxes | None = None,
        *,
        grounded: bool = True,
        **settings: Any,
    ) -> Any:
        """Answer a question about the picture.

        With boxes, the phrases they belong to stand in brackets: "What is [this character]?".
        """
        return self._each(
            image, lambda seen: tasks.ask(seen, question, boxes, grounded=grounded), settings
        )

    @overload
    def complete(self, image: OneImage | None, prompt: str, **settings: Any) -> Grounded: ...
    @overload
    def complete(self, image: Images, prompt: str, **settings: Any) -> list[Grounded]: ...
    def complete(self, image: Any, prompt: str, **settings: Any) -> Any:
        """Go on from a prompt in raw markup, about a picture or (None) about none."""
        if image is None:
            return self.answer([tasks.complete(None, prompt)], Options.of(**settings))[0]
        return self._each(image, lambda seen: tasks.complete(seen, prompt), settings)

    def _each(self, image: Any, ask: Callable[[Seen], Ask], settings: dict[str, Any]) -> Any:
        options = Options.of(**settings)
        many = isinstance(image, list | tuple)
        seen = self.see(list(image) if many else [image])
        answers = self.answer([ask(one) for one in seen], options)
        return answers if many else answers[0]

    def answer(self, asks: Sequence[Ask], options: Options) -> list[Grounded]:
        """Answer asks about any pictures; what every verb comes down to."""
        return self.runner.whole(asks, options)

    @torch.inference_mode()
    def _look(self, pictures: Sequence[Picture]) -> list[torch.Tensor]:
        pixels = self.runner.processor.pixels(pictures).to(self.network.device)
        # Each by itself: one that is kept must not keep its whole batch.
        return [latents.clone() for latents in self.network.look(pixels)]


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"there is no device {str(device)!r} here; use 'cpu', or leave it out"
        ) from error
    return place


def _dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise ConfigError(f"there is no dtype {dtype!r}; known: {', '.join(DTYPES)}")
    return DTYPES[dtype]
