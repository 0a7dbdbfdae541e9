"""The vocabulary as the reference shows it: tokens, their ids, and those with a meaning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

from tokenizers import Tokenizer as Backend

from kosmos2.errors import ConfigError, InputError
from kosmos2.hf.padding import KindError, as_lists
from kosmos2.tokenizer import Tokenizer
from kosmos2.tokenizer.build import BOS, EOS, MASK, PAD, UNK


class _Meaning:
    """A token with a meaning, or its id; what it is, the weights have learnt."""

    def __init__(self, token: str, *, as_id: bool = False) -> None:
        self._token = token
        self._as_id = as_id

    def __get__(self, tokenizer: SpecialTokens, kind: type | None = None) -> Any:
        return tokenizer.convert_tokens_to_ids(self._token) if self._as_id else self._token

    def __set__(self, tokenizer: SpecialTokens, value: object) -> None:
        if value != self.__get__(tokenizer):
            raise ConfigError(
                f"this token is {self._token} to the weights of KOSMOS-2 and cannot be {value!r}"
            )


class SpecialTokens:
    """What there is to know about a vocabulary."""

    bos_token = cls_token = _Meaning(BOS)
    eos_token = sep_token = _Meaning(EOS)
    unk_token = _Meaning(UNK)
    pad_token = _Meaning(PAD)
    mask_token = _Meaning(MASK)
    bos_token_id = cls_token_id = _Meaning(BOS, as_id=True)
    eos_token_id = sep_token_id = _Meaning(EOS, as_id=True)
    unk_token_id = _Meaning(UNK, as_id=True)
    pad_token_id = _Meaning(PAD, as_id=True)
    mask_token_id = _Meaning(MASK, as_id=True)
    pad_token_type_id = 0

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.inner = tokenizer

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The tokens with a meaning, by the names of their attributes."""
        kinds = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
        return {f"{kind}_token": getattr(self, f"{kind}_token") for kind in kinds}

    @property
    def all_special_tokens(self) -> list[str]:
        """The tokens with a meaning, each once. Tags are not among them."""
        return list(dict.fromkeys(self.special_tokens_map.values()))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids that `skip_special_tokens` leaves out."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    @property
    def backend_tokenizer(self) -> Backend:
        """What the `tokenizers` library knows."""
        return self.inner.backend

    @property
    def vocab_size(self) -> int:
        """The size without the tags, which were added later; `len` counts them too."""
        return int(self.inner.backend.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self.inner.backend.get_vocab_size(with_added_tokens=True))

    def get_vocab(self) -> dict[str, int]:
        """The id of every token."""
        return dict(self.inner.backend.get_vocab(with_added_tokens=True))

    @property
    def vocab(self) -> dict[str, int]:
        """The id of every token."""
        return self.get_vocab()

    def get_added_vocab(self) -> dict[str, int]:
        """The ids of the tokens at which text is parted, in their order."""
        added = self.inner.backend.get_added_tokens_decoder()
        return {token.content: id for id, token in sorted(added.items())}

    def num_special_tokens_to_add(self) -> int:
        """How many tokens go around a text."""
        return int(self.inner.backend.num_special_tokens_to_add(False))

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Nothing, for tokens that are there; others the weights would not know.

        Raises:
            ConfigError: a token that is not in the vocabulary.
        """
        tokens = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        known = self.get_vocab()
        if unknown := [str(token) for token in tokens if str(token) not in known]:
            raise ConfigError(
                f"{unknown[0]!r} is not in the vocabulary, and the network has no row for it; "
                "a new token means a new network"
            )
        return 0

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int]:
        """The id of a token or the ids of several; for unknown ones that of `<unk>`."""
        if isinstance(tokens, str):
            id = self.inner.backend.token_to_id(tokens)
            return self.inner.unk if id is None else int(id)
        if not isinstance(tokens, Iterable):
            raise KindError(f"tokens are to be a string or a list of them, not {tokens!r}")
        for token in (tokens := list(tokens)):
            if not isinstance(token, str):
                raise KindError(f"tokens are strings, not {token!r}")
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(
        self, ids: Any, skip_special_tokens: bool = False
    ) -> str | list[str | None] | None:
        """The token of an id or the tokens of several; None for an id without one."""
        ids = as_lists(ids)
        if isinstance(ids, int):
            self._check_ids([ids])
            return self._token(ids)
        if not isinstance(ids, list):
            raise KindError(f"ids are to be whole numbers or a list of them, not {ids!r}")
        self._check_ids(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token(id) for id in ids if id not in skipped]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text that tokens make; the first loses the space in front."""
        return str(self.inner.backend.decoder.decode(tokens))

    def get_special_tokens_mask(
        self, token_ids_0: Any, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each id with a meaning of its own, 0 for each of text.

        Raises:
            InputError: unless the special tokens are there; `return_special_tokens_mask` tells
                them when they are added.
        """
        if not already_has_special_tokens:
            raise InputError(
                "get_special_tokens_mask reads ids with their special tokens; say "
                "already_has_special_tokens=True, or return_special_tokens_mask=True when encoding"
            )
        special = set(self.all_special_ids)
        return [int(id in special) for id in as_lists(token_ids_0)]

    def _token(self, id: int) -> str | None:
        # The backend takes 32 bits, and has no token near their end anyway.
        return self.inner.backend.id_to_token(id) if id < self.inner.size else None

    @staticmethod
    def _check_ids(ids: list[Any]) -> None:
        for at, id in enumerate(ids):
            if not isinstance(id, int):
                raise KindError(f"id {at} is {id!r}, not a whole number")
            if id < 0:
                raise InputError(
                    f"id {at} is {id}, which stands for no token; "
                    "put pad_token_id where labels have -100"
                )
