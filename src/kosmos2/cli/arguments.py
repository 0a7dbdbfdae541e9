"""The words of the command line: commands, options, and what is said about a wrong one.

Only the standard library is needed to understand them.
"""

from __future__ import annotations

import argparse
import math
import re
from argparse import SUPPRESS, Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

import kosmos2
from kosmos2.errors import Kosmos2Error
from kosmos2.geometry import COORDS
from kosmos2.options import Options

DTYPES = ("float32", "bfloat16", "float16")
QUANTIZE = ("int8", "int4")
FORMATS = (".png", ".svg", ".html", ".json")
SETTINGS = (
    "max_new_tokens", "temperature", "top_p", "top_k", "beams", "seed", "no_repeat_ngram_size",
    "stop", "grammar", "max_boxes", "every", "min_score", "min_presence",
)  # fmt: skip

Commands = Any  # argparse keeps the name of its own type to itself

_EXAMPLES = """\
examples:
  kosmos2 caption photo.jpg --save boxes.png
  kosmos2 ground photo.jpg "a dog" "the red cup"
  kosmos2 locate photo.jpg "a dog" --save heat.png
  kosmos2 describe photo.jpg --box 0.1,0.2,0.5,0.9
  kosmos2 ask photo.jpg "What is [this animal]?" --box 0.1,0.2,0.5,0.9
  kosmos2 caption *.jpg --json > captions.jsonl
  kosmos2 demo

exit codes:
  0    done                           70   a fault of ours; --debug shows more
  4    a loss that is no number       73   somebody else is at this run folder
  64   words that cannot be           74   no space, or no leave to write
  65   bad data, picture or model     75   stopped, and the same command goes on
  66   nothing there to read         130   stopped by Ctrl-C
"""


class UsageError(Kosmos2Error):
    """Words that make no command."""

    exit_code = 64


class Parser(argparse.ArgumentParser):
    """argparse, but an error is raised, in one line, and a word is never guessed from its start."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Refuse, and say where help is."""
        raise UsageError(f"{message}; see {self.prog} --help")


def read(words: Sequence[str]) -> Namespace:
    """Understand the words; `run` of what comes back is the command itself.

    Raises:
        UsageError: an unknown or missing word, or a value of the wrong kind.
    """
    parser = _parser()
    command = next((word for word in words if not word.startswith("-")), None)
    known = _names(parser)
    if command is not None and command not in known:
        raise UsageError(f"there is no command {command!r}{_nearest(command, known)}")
    arguments, left = parser.parse_known_args(_joined(words))
    if left:
        options = [word for word in left if word.startswith("-")]
        if not options:
            raise UsageError(
                f"{left[0]!r} is one word too many; quote what belongs together, and put pictures "
                f"side by side; see kosmos2 {arguments.command} --help"
            )
        word = options[0].partition("=")[0]
        raise UsageError(
            f"{arguments.command} has no option {word}"
            f"{_nearest(word, arguments.options, f'see kosmos2 {arguments.command} --help')}"
        )
    if arguments.command is None:
        raise UsageError(f"say what to do: {', '.join(known)}; see kosmos2 --help")
    return arguments


def command(commands: Commands, name: str, run: Any, purpose: str, **more: Any) -> Parser:
    """Add a command; call `finish` on it once its options are in place."""
    parser: Parser = commands.add_parser(name, help=purpose, description=purpose, **more)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="log, and show tracebacks")
    return parser


def model_options(parser: Parser) -> None:
    """Which model, and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="demo",
        metavar="NAME",
        help="demo, a folder, or a hub name (%(default)s)",
    )
    group.add_argument("--adapter", metavar="DIR", help="a LoRA adapter, merged into the model")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (a GPU if there is one)")
    group.add_argument("--dtype", choices=DTYPES, help="(float32 on a CPU, bfloat16 on a GPU)")
    group.add_argument(
        "--quantize", choices=QUANTIZE, help="round the weights: less memory, faster on a CPU"
    )
    group.add_argument("--revision", help="branch, tag or commit of a hub name")
    group.add_argument("--offline", action="store_true", help="never ask the network")


def answer_options(parser: Parser, formats: Sequence[str] = FORMATS) -> None:
    """What the answer looks like and where it goes."""
    group = parser.add_argument_group("answer")
    group.add_argument("--json", action="store_true", help="one JSON document a line, no more")
    group.add_argument("--save", metavar="FILE", help=f"write it too: {', '.join(formats)}")
    group.add_argument(
        "--coords", choices=COORDS, default=COORDS[0], help="unit of all boxes (%(default)s)"
    )


def setting_options(parser: Parser) -> None:
    """How the answer is generated: the settings of `Options`, whose defaults stay there."""
    usual = Options()
    group = parser.add_argument_group("generation")

    def add(name: str, kind: type, what: str, dest: str | None = None) -> None:
        dest = dest or name[2:].replace("-", "_")
        metavar = {int: "N", float: "X"}[kind]
        group.add_argument(name, type=kind, dest=dest, default=SUPPRESS, metavar=metavar, help=what)

    add("--max-new-tokens", int, f"longest answer ({usual.max_new_tokens})")
    add("--temperature", float, "above 0 draws by lot, the higher the wilder (0: likeliest token)")
    add("--top-p", float, f"draw from the likeliest that add up to this ({usual.top_p:g})")
    add("--top-k", int, f"draw from this many of the likeliest ({usual.top_k}: all)")
    add("--beams", int, f"answers followed side by side ({usual.beams})")
    add("--seed", int, "of the lot; the same seed gives the same answer")
    once = "no N tokens in a row come twice; 0 is off (the model's own, mostly 3)"
    add("--no-repeat-ngram", int, once, "no_repeat_ngram_size")
    group.add_argument(
        "--stop", action="append", default=SUPPRESS, metavar="TEXT",
        help="end before this text; can be given again",
    )  # fmt: skip
    group = parser.add_argument_group("boxes")
    add("--max-boxes", int, "most boxes of one phrase (as many as the model writes)")
    add("--min-score", float, f"leave out boxes below this score ({usual.min_score:g})")
    there = "ground: point from this presence on, 0 for always (the model's choice)"
    add("--min-presence", float, there)
    group.add_argument(
        "--every", action="store_true", default=SUPPRESS,
        help="box every thing that a phrase could mean",
    )  # fmt: skip
    group.add_argument(
        "--grammar", action=argparse.BooleanOptionalAction, default=SUPPRESS,
        help="let the model write only markup that can be read (on, but for complete)",
    )  # fmt: skip


def settings(arguments: Namespace) -> dict[str, Any]:
    """The generation settings that were given.

    Raises:
        ConfigError: one that cannot be.
    """
    given = {name: getattr(arguments, name) for name in SETTINGS if hasattr(arguments, name)}
    Options.of(**given)
    return given


def whole(least: int) -> Any:
    """A type of option: a whole number of at least so much."""

    def number(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return number


def numbers(text: str) -> tuple[float, ...]:
    """A type of option: four numbers, X1,Y1,X2,Y2."""
    parts = [part for part in re.split(r"[,\s]+", text.strip()) if part]
    try:
        values = tuple(map(float, parts))
    except ValueError:
        values = ()
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers X1,Y1,X2,Y2")
    return values


def _parser() -> Parser:
    from kosmos2.cli import doctor, evaluate, look, models, scenes, serving, training

    parser = Parser(
        prog="kosmos2",
        description="Show KOSMOS-2 a picture, ask, and it answers with words tied to boxes.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kosmos2 {kosmos2.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for group in (look, serving, models, doctor, scenes, training, evaluate):
        group.add(commands)
    for one in commands.choices.values():
        one.set_defaults(options=list(one._option_string_actions))
    return parser


def _names(parser: Parser) -> list[str]:
    return [
        name
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name in action.choices
    ]


def _joined(words: Sequence[str]) -> list[str]:
    """`--box -0.1,0,1,1` as one word: argparse would take the negative box for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--box" and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _nearest(word: str, known: Sequence[str], otherwise: str = "see kosmos2 --help") -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; {otherwise}"
