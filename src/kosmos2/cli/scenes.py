"""`kosmos2 scenes`: draw pictures, and the truth about them."""

from __future__ import annotations

from argparse import Namespace

from kosmos2.cli.arguments import Commands, command, whole
from kosmos2.cli.output import note
from kosmos2.cli.progress import Progress


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "scenes", _run, "draw scenes and write truth.jsonl beside them")
    parser.add_argument("--count", type=whole(1), required=True, metavar="N", help="how many")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="S", help="(%(default)s)")
    parser.add_argument("--out", required=True, metavar="DIR", help="made if it is not there")
    parser.add_argument(
        "--size", type=whole(16), default=448, metavar="PX", help="width and height (%(default)s)"
    )
    parser.add_argument(
        "--world",
        metavar="W",
        help="first, second, new or small (the one the embedded model knows: second)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the scenes in DIR")


def _run(arguments: Namespace) -> int:
    from kosmos2.scenes.world import SHIPPED, world_of
    from kosmos2.scenes.write import write_scenes

    world = world_of(arguments.world or SHIPPED.name)

    with Progress("drawing", "scenes") as progress:
        folder = write_scenes(
            arguments.out,
            arguments.count,
            arguments.seed,
            arguments.size,
            progress,
            world=world,
            overwrite=arguments.overwrite,
        )
    note(f"wrote {arguments.count} scenes of seed {arguments.seed} into {folder}")
    return 0
