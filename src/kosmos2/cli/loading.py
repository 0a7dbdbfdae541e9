"""Loading the model that the options name, with progress where it has to be downloaded."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from kosmos2.cli.progress import Progress

if TYPE_CHECKING:
    from kosmos2.grounder import Kosmos2


def load(arguments: Namespace, *, batch: int = 16) -> Kosmos2:
    """The model that `arguments.model_options` asked about."""
    from kosmos2.grounder import Kosmos2

    with Progress(f"downloading {arguments.model}", "bytes") as progress:
        return Kosmos2.load(
            arguments.model,
            adapter=arguments.adapter,
            device=arguments.device,
            dtype=arguments.dtype,
            quantize=arguments.quantize,
            revision=arguments.revision,
            offline=True if arguments.offline else None,
            batch=batch,
            on_progress=progress,
        )
