"""`kosmos2 eval`: measure a model."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from kosmos2.cli import arguments as words
from kosmos2.cli.arguments import Commands, command, whole
from kosmos2.cli.loading import load
from kosmos2.cli.output import clean, show
from kosmos2.cli.progress import Progress


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "eval", _run, "measure a model on scenes it was never shown")
    parser.add_argument("what", choices=["scenes"], metavar="scenes", help="drawn here and now")
    parser.add_argument("--count", type=whole(1), default=1000, metavar="N", help="(%(default)s)")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="S", help="(%(default)s)")
    parser.add_argument(
        "--world",
        metavar="W",
        help="first, second, new or small (the one the embedded model knows: second)",
    )
    parser.add_argument("--closer", action="store_true", help="look twice, where that is offered")
    parser.add_argument(
        "--beams", type=whole(1), default=1, metavar="N", help="of captions (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document, no more")
    words.model_options(parser)


def _run(arguments: Namespace) -> int:
    from kosmos2.evaluate.scenes import evaluate
    from kosmos2.scenes.world import SHIPPED, world_of

    world = world_of(arguments.world or SHIPPED.name)
    model = load(arguments, batch=64)
    with Progress("measuring", "scenes") as progress:
        measured = evaluate(
            model,
            count=arguments.count,
            seed=arguments.seed,
            world=world,
            closer=arguments.closer,
            beams=arguments.beams,
            on_progress=progress,
        )
    if arguments.json:
        show(json.dumps(measured))
        return 0
    show(clean(f"{measured['model']}: {measured['count']} scenes of seed {measured['seed']}"))
    rows = list(_rows(measured))
    widest = max(len(name) for name, *_ in rows)
    for name, value, interval in rows:
        if value is None:
            show(f"  {name:<{widest}}  nothing to measure")
        else:
            show(f"  {name:<{widest}}  {value:.3f}  ({interval[0]:.3f} to {interval[1]:.3f})")
    return 0


def _rows(measured: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every figure by its full name, with the interval that stands beside it."""
    for name, value in measured.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{before}{name} ")
        elif f"{name}_interval" in measured:
            yield before + name, value, measured[f"{name}_interval"]
