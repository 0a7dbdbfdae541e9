"""Answers as they come: `generate` calls `put` with the prompt, then with each token, then `end`.

Anything with these two will do. The ones here hand on text as soon as it can no longer change: up
to the last space, or at once after a line's end or a Chinese character, which stand alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from queue import Queue
from typing import Any, Protocol

from torch import Tensor

from kosmos2.errors import InputError

# The blocks of CJK ideographs in Unicode.
IDEOGRAPHS = (
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2CEB0),
    range(0x2F800, 0x2FA20),
)


class Decodes(Protocol):
    """A tokenizer or a processor."""

    def decode(self, ids: list[int], /, **how: Any) -> str:
        """The text of these ids."""


class TextStreamer:
    """Writes an answer to standard output while it comes; override `on_finalized_text` for more."""

    def __init__(self, tokenizer: Decodes, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self.ids: list[int] = []  # since the last line's end
        self.shown = 0  # characters of their text
        self.prompt_comes = True

    def put(self, value: Tensor) -> None:
        """Take the prompt, or the next token.

        Raises:
            InputError: more than one row, whose texts would be mixed.
        """
        if value.ndim > 1 and len(value) > 1:
            raise InputError(
                f"{type(self).__name__} shows one answer and there are {len(value)} rows; generate "
                "them one by one, or write a streamer with put and end of your own"
            )
        prompt, self.prompt_comes = self.prompt_comes, False
        if prompt and self.skip_prompt:
            return
        self.ids += value.flatten().tolist()
        text = self._text()
        line = text.endswith("\n")
        alone = line or any(ord(last) in block for last in text[-1:] for block in IDEOGRAPHS)
        new = text[self.shown : len(text) if alone else text.rfind(" ") + 1]
        self.shown += len(new)
        if line:
            self.ids, self.shown = [], 0
        self.on_finalized_text(new)

    def end(self) -> None:
        """Hand on what is left."""
        new = self._text()[self.shown :] if self.ids else ""
        self.ids, self.shown, self.prompt_comes = [], 0, True
        self.on_finalized_text(new, stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Show a piece of text; the last one ends the line."""
        sys.stdout.write(text + "\n" * stream_end)
        sys.stdout.flush()

    def _text(self) -> str:
        return self.tokenizer.decode(self.ids, **self.decode_kwargs)


class TextIteratorStreamer(TextStreamer):
    """Pieces of an answer to loop over in one thread, while another one generates."""

    def __init__(
        self,
        tokenizer: Decodes,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout  # seconds to wait for the next piece
        self.text_queue: Queue[str | None] = Queue()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Put a piece where the other thread finds it."""
        self.text_queue.put(text)
        if stream_end:
            self.text_queue.put(None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self.text_queue.get(timeout=self.timeout)
        if piece is None:
            raise StopIteration
        return piece
