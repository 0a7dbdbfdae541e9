"""Text to ids and back.

tokenizer   Tokenizer: load, encode, decode, the ids of tags and cells
stream      text from ids as they come
build       the backend, from pieces or from tokenizer.json, and its layout checked
"""

from kosmos2.tokenizer.stream import TextStream
from kosmos2.tokenizer.tokenizer import Tokenizer

__all__ = ["TextStream", "Tokenizer"]
