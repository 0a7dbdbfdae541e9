"""What can go wrong, by name.

    Kosmos2Error
    ├── ConfigError      (ValueError)  sizes that cannot be built, an unknown setting
    │   └── RecipeError                a training recipe that cannot be followed
    ├── CheckpointError                missing, foreign, cut or misshapen weights and tokenizers
    ├── InputError       (ValueError)  what a caller handed in
    │   ├── DataError                  rows to train on that cannot be read, or too many of them
    │   ├── ImageError                 unreadable, empty or too large picture
    │   └── PromptError                empty or too long prompt, boxes that do not fit
    ├── MarkupError      (ValueError)  strict reading only; `at` is the offset in the markup
    └── EngineError                    generation could not go on
        └── Busy                       no room for one more request now; ask again later

A message names the thing, the place and the way out. `exit_code` is what the command line returns
(the numbers of sysexits.h): 64 usage, 65 bad data or model, 66 no input, 70 ours, 74 input/output,
75 try again.
"""

from typing import Literal

# What is wrong with a picture, for callers who say it in words of their own: no format that is
# read, larger than is allowed, or anything else (damaged, empty, not there).
Fault = Literal["format", "large", "unreadable"]


class Kosmos2Error(Exception):
    """Anything this package refuses or cannot do."""

    exit_code = 70


class ConfigError(Kosmos2Error, ValueError):
    """A network or a request that cannot be built as described."""

    exit_code = 64


class RecipeError(ConfigError):
    """A training recipe that cannot be followed."""


class CheckpointError(Kosmos2Error):
    """Weights, tokenizer or settings on disk that are not what they should be."""

    exit_code = 65


class InputError(Kosmos2Error, ValueError):
    """Something the caller handed in."""

    exit_code = 65


class DataError(InputError):
    """Rows to train on that cannot be read."""


class ImageError(InputError):
    """A picture that cannot be read, or should not be."""

    def __init__(self, message: str = "", *, fault: Fault = "unreadable") -> None:
        super().__init__(message)
        self.fault = fault


class MissingImageError(ImageError):
    """A picture that is not there."""

    exit_code = 66


class PromptError(InputError):
    """Words or boxes that do not make a prompt."""

    exit_code = 64


class MarkupError(Kosmos2Error, ValueError):
    """Markup that breaks the grammar, when read strictly."""

    exit_code = 65

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


class EngineError(Kosmos2Error):
    """Generation that could not go on."""


class Busy(EngineError):
    """No place in the queue, or no memory, for one more request; a later one may find some."""

    exit_code = 75
