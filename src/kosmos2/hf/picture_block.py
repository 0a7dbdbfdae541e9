"""A picture's place at the head of a row: `<s>` `<image>` slots `</image>`, as text and as ids.

    text   <s><image> <image> <image> <image> </image> An image of
    ids    <s> <image>   4       5       6    </image> An image of
    mask    0     0      1       1       1       0     0   0    0

The text holds an `<image>` for each slot; once it is ids, those are replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

from kosmos2.errors import ConfigError
from kosmos2.hf.tokenizer import Kosmos2Tokenizer
from kosmos2.markup import IMAGE, IMAGE_END


def block_text(slots: int) -> str:
    """What stands before a prompt with a picture."""
    return f"{IMAGE}{f' {IMAGE}' * slots} {IMAGE_END} "


@dataclass(frozen=True, slots=True)
class PictureBlock:
    """The ids that a picture takes, before they are replaced and after."""

    head: list[int]  # as the tokenizer reads `block_text`, `<s>` in front if there is one
    slots: range  # the ids in slots

    @classmethod
    def of(
        cls, tokenizer: Kosmos2Tokenizer, count: int, *, bos: bool, first: int | None = None
    ) -> PictureBlock:
        """The block of `count` slots, whose ids go up from `first`.

        Raises:
            ConfigError: no number of slots, or ids that the vocabulary lacks.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"num_image_tokens is {count!r}; give the model's latent_query_num")
        inner = tokenizer.inner
        first = inner.first_slot if first is None else first
        if not isinstance(first, int) or not 0 <= first <= inner.size - count:
            raise ConfigError(
                f"first_image_token_id is {first!r}, but {count} ids from there on must be among "
                f"the {inner.size} of the vocabulary; leave it out for {inner.first_slot}"
            )
        image, end = inner.tag(IMAGE), inner.tag(IMAGE_END)
        start = [inner.bos] if bos else []
        return cls([*start, image, *[image] * count, end], range(first, first + count))

    @property
    def start(self) -> int:
        """The place of the first slot."""
        return len(self.head) - len(self.slots) - 1

    def whole(self, ids: list[int]) -> bool:
        """Whether a row has kept all of it."""
        return ids[: len(self.head)] == self.head

    def filled(self, ids: list[int]) -> list[int]:
        """A row with the ids of slots; as in the reference also where the block was cut."""
        return [*ids[: self.start], *self.slots, *ids[self.start + len(self.slots) :]]

    def mask(self, length: int) -> list[int]:
        """Where the slots are in a filled row."""
        mask = [0] * self.start + [1] * len(self.slots) + [0]
        return mask + [0] * (length - len(mask))
