"""`kosmos2 doctor`: is everything here that is needed, and does it work?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import kosmos2
from kosmos2.cli.arguments import Commands, command
from kosmos2.cli.output import clean, show
from kosmos2.errors import Kosmos2Error, MissingImageError

BAD_MODEL, OURS = 65, 70
LIBRARIES = (
    "torch", "numpy", "pillow", "tokenizers", "safetensors", "huggingface_hub", "jaxtyping",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "broken"]
    detail: str
    code: int = 0  # what the command returns for it


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "doctor", _run, "check this installation, or a copy of the weights")
    parser.add_argument(
        "--verify", metavar="MODEL", help="hold the released weights against what they should say"
    )
    parser.add_argument(
        "--image", metavar="FILE", help="the hub's snowman.png, for --verify (beside the weights)"
    )
    parser.add_argument("--device", help="where --verify runs (a GPU if there is one)")
    parser.add_argument("--revision", help="branch, tag or commit of a hub name")
    parser.add_argument("--offline", action="store_true", help="never ask the network")
    parser.add_argument("--json", action="store_true", help="one JSON document, no more")


def _run(arguments: Namespace) -> int:
    found: list[Finding] = []
    for finding in _verified(arguments) if arguments.verify else _examined():
        found.append(finding)
        if not arguments.json:
            show(clean(f"  {finding.state:<6}  {finding.name:<15}  {finding.detail}"))
    codes = [finding.code for finding in found if finding.state == "broken"]
    if arguments.json:
        rows = [{k: v for k, v in asdict(f).items() if k != "code"} for f in found]
        show(json.dumps({"ok": not codes, "findings": rows}))
    elif codes:
        show(f"{len(codes)} of {len(found)} are broken")
    else:
        show("all is well")
    return codes[0] if codes else 0


def _examined() -> Iterator[Finding]:
    version = platform.python_version()
    fit = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if fit else "broken", f"{version} on {platform.platform()}", OURS)
    yield Finding("kosmos2", "ok", f"{kosmos2.__version__} in {Path(kosmos2.__file__).parent}")
    missing = False
    for name in LIBRARIES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            missing = True
            yield Finding(name, "broken", f"not installed; run: pip install {name}", OURS)
    yield _downloads()
    if missing:
        return
    yield from _machine()
    yield from _demo()


def _machine() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that does not fit
        yield Finding("torch", "broken", f"cannot be imported: {error}; install it again", OURS)
        return
    capability = torch.backends.cpu.get_cpu_capability()
    cores = os.cpu_count()
    yield Finding("cpu", "ok", f"{capability}, {torch.get_num_threads()} threads on {cores} cores")
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        yield Finding(f"gpu {index}", "ok", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.device_count():
        yield Finding("gpu", "note", "none that torch can use; answers come from the CPU")


def _downloads() -> Finding:
    off = os.environ.get("HF_HUB_OFFLINE", "")
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or "~/.cache/huggingface"
    state = f"off (HF_HUB_OFFLINE={off})" if off else "on, once a hub name is asked for"
    return Finding("downloads", "note", f"{state}; kept in {folder}")


def _demo() -> Iterator[Finding]:
    """The model in the package, and what it says of a scene drawn now."""
    from PIL import Image

    from kosmos2.grounder import Kosmos2
    from kosmos2.scenes.draw import draw_scene
    from kosmos2.scenes.layout import compose

    started = time.perf_counter()
    try:
        model = Kosmos2.load("demo", device="cpu")
        yield Finding("demo model", "ok", f"loaded in {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
        answer = model.caption(Image.fromarray(draw_scene(compose(0, 0), 224)))
    except Kosmos2Error as error:
        yield Finding("demo model", "broken", str(error), BAD_MODEL)
        return
    took_s = time.perf_counter() - started
    if answer.text:
        yield Finding("demo answer", "ok", f"{answer.text!r} in {took_s:.1f} s")
    else:
        yield Finding("demo answer", "broken", "it says nothing; install again", BAD_MODEL)


def _verified(arguments: Namespace) -> Iterator[Finding]:
    """The golden check of the released weights."""
    from kosmos2 import golden
    from kosmos2.cli.progress import Progress
    from kosmos2.grounder import Kosmos2
    from kosmos2.images import open_picture
    from kosmos2.weights.fetch import RELEASED, resolve

    with Progress(f"downloading {arguments.verify}", "bytes") as progress:
        folder = resolve(
            arguments.verify,
            revision=arguments.revision,
            offline=True if arguments.offline else None,
            on_progress=progress,
        )
    path = Path(arguments.image) if arguments.image else folder / golden.PICTURE
    if not arguments.image and not path.is_file():
        raise MissingImageError(
            f"{folder} has no {golden.PICTURE}, the picture whose answers are known; "
            f"give it with --image (on the hub it is among the files of {RELEASED})"
        )
    picture = open_picture(path)
    model = Kosmos2.load(folder, device=arguments.device, dtype="float32")
    for check in golden.verify(model, picture):
        yield Finding(check.name, "ok" if check.passed else "broken", check.detail, BAD_MODEL)
