"""Text from ids, in whatever shape they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kosmos2.hf.padding import KindError, as_lists
from kosmos2.hf.special_tokens import SpecialTokens

# Spaces that old settings take out of decoded English, in this order.
TIDIED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


class Decoding(SpecialTokens):
    """A vocabulary that turns ids into text."""

    clean_up_tokenization_spaces: bool = False

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str | list[str]:
        """The text of ids, or the texts of rows of ids.

        Args:
            token_ids: an id, a list, a tensor or an array of one or two dimensions.
            skip_special_tokens: whether `<s>`, `</s>`, `<pad>`, `<unk>`, `<mask>` go; tags stay.
            clean_up_tokenization_spaces: whether spaces before `.` and the like go; the default
                is that of the tokenizer.

        Raises:
            InputError: a negative id.
            KindError: what is no id, or rows of rows.
        """
        ids = as_lists(token_ids["input_ids"] if isinstance(token_ids, Mapping) else token_ids)
        tidy = clean_up_tokenization_spaces
        if tidy is None:
            tidy = self.clean_up_tokenization_spaces
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            return [self._text(row, skip_special_tokens, tidy) for row in ids]
        return self._text(ids, skip_special_tokens, tidy)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """The texts of rows of ids. Quirk: of one row without a batch, a list of its one text."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts

    def _text(self, ids: Any, skip_special: bool, tidy: bool) -> str:
        ids = [ids] if isinstance(ids, int) else ids
        if not isinstance(ids, list):
            raise KindError(f"ids are to be whole numbers or lists of them, not {ids!r}")
        self._check_ids(ids)
        text = self.inner.decode(ids, skip_special=skip_special)
        for spaced in TIDIED if tidy else ():
            text = text.replace(spaced, spaced.strip())
        return text
