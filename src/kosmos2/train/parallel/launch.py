"""Which way the processes of a run work together: the recipe says how, `torchrun` how many."""

from __future__ import annotations

import os
from typing import Literal

import torch

from kosmos2.errors import RecipeError
from kosmos2.train.parallel.alone import Alone
from kosmos2.train.parallel.way import Parallel

How = Literal["none", "ddp", "fsdp"]
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def launch(how: How, device: torch.device | str | None = None) -> Parallel:
    """Join the other processes, if there are any; close what is returned at the end.

    One process is one process whatever the recipe says, so a run of many goes on with one. Many
    with a recipe that says "none" each hold the whole network, as with "ddp".

    Args:
        how: as `parallel.how` of a recipe.
        device: where to compute; a GPU of its own for each process if left out and there are any.

    Raises:
        RecipeError: processes without what joins them, more of them than GPUs, too old a torch.
    """
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    world = _whole("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1
    if world == 1:
        return Alone(kind)
    if missing := [name for name in _NEEDED if name not in os.environ]:
        raise RecipeError(
            f"WORLD_SIZE is {world} but {', '.join(missing)} is not set; start the processes with "
            f"torchrun --nproc-per-node {world} -m kosmos2 train ..., or unset WORLD_SIZE"
        )
    import torch.distributed as dist

    if kind.type == "cuda":
        here, most = _whole("LOCAL_RANK"), torch.cuda.device_count()
        if here >= most:
            raise RecipeError(
                f"process {here} of this machine has no GPU of its own, there are {most}; "
                f"give torchrun --nproc-per-node {most}"
            )
        kind = torch.device("cuda", here)
        torch.cuda.set_device(kind)
    if not dist.is_initialized():
        # What is said in words goes over gloo, so that it needs no GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if kind.type == "cuda" else "gloo")
    if how == "fsdp":
        try:
            from kosmos2.train.parallel.fsdp import Fsdp
        except ImportError as error:
            raise RecipeError(
                f"torch {torch.__version__} cannot keep slices in safetensors; install a newer "
                "one, or use parallel.how = 'ddp'"
            ) from error
        return Fsdp(kind)
    from kosmos2.train.parallel.ddp import Ddp

    return Ddp(kind)


def _whole(name: str) -> int:
    text = os.environ[name]
    try:
        return int(text)
    except ValueError as error:
        raise RecipeError(f"{name} is {text!r}; torchrun sets it to a whole number") from error
