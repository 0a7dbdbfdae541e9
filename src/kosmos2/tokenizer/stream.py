"""Text from ids as they come."""

from collections.abc import Mapping, Set

SPACE = "▁"  # stands for a space inside pieces


class TextStream:
    """Text from ids one at a time; the joined pieces are the decoded whole.

    A token is always whole characters, since there are no byte pieces, so nothing is held back.
    Quirk: the first token loses every `▁`, as in the reference's Metaspace decoder.
    """

    def __init__(self, texts: Mapping[int, str], skip: Set[int] = frozenset()) -> None:
        self._texts = texts
        self._skip = skip
        self._begun = False

    def push(self, id: int) -> str:
        """The text that an id adds; nothing for an id without meaning."""
        if id in self._skip or id not in self._texts:
            return ""
        text = self._texts[id].replace(SPACE, " " if self._begun else "")
        self._begun = True
        return text

    def finish(self) -> str:
        """What was still held back: nothing."""
        return ""
