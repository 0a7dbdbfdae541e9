"""From the name of a model to a folder on this machine.

A name is `demo` (the model that comes with the package), a folder, or a model on the Hugging Face
hub, `organisation/name`. What was downloaded before is used without asking the network again; give
a `revision` to look for that one. Only settings, tokenizer and safetensors are ever downloaded.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from kosmos2.errors import CheckpointError
from kosmos2.weights.stored import CONVERT, INDEX, SHARDS, WHOLE, weight_files

DEMO = "demo"
RELEASED = "microsoft/kosmos-2-patch14-224"
DEMO_FOLDER = Path(__file__).parents[1] / "assets" / "demo"

WANTED = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    WHOLE,
    INDEX,
    SHARDS,
]
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_NAME = re.compile(rf"{_WORD}/{_WORD}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,249}")

Progress = Callable[[int, int], None]


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """The folder of a model, downloaded if it has to be.

    Args:
        name: `demo`, a folder (which wins over a hub name spelt alike), or `organisation/name`.
        revision: Branch, tag or commit on the hub; a commit pins the model for good.
        offline: True never asks the network. None does as HF_HUB_OFFLINE says.
        on_progress: Called with bytes done and bytes known of, from the threads that download.

    Raises:
        CheckpointError: no such model, not here and offline, or nothing in it that can be read.
    """
    if name == DEMO:
        if not (DEMO_FOLDER / "config.json").is_file():
            raise CheckpointError(
                f"this installation has no demo model in {DEMO_FOLDER}; "
                f"install the package again, or name a folder or {RELEASED}"
            )
        return DEMO_FOLDER
    name, folder = str(name), Path(name)
    try:
        folder = folder.expanduser()
        kind = folder.stat().st_mode if name else 0
    except (OSError, ValueError, RuntimeError):  # not there; no path at all; ~ of nobody
        kind = 0
    if stat.S_ISDIR(kind):
        return folder
    if kind:
        raise CheckpointError(f"{name} is a file; name the folder that it is in: {folder.parent}")
    odd = ".." in name or "--" in name or name.endswith(".git")
    if odd or not _HUB_NAME.fullmatch(name):
        raise CheckpointError(f"there is no model {name!r}{_nearest(name)}")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise CheckpointError(f"revision {revision!r} is no branch, tag or commit of {name}")
    here = _snapshot(name, revision, local_files_only=True)
    if here is not None and not _lacking(here):
        return here
    if offline or (offline is None and _told_to_stay_offline()):
        raise CheckpointError(
            f"{_called(name, revision)} is not, or not whole, on this machine, and the network is "
            "off limits (offline, or HF_HUB_OFFLINE); go online once, or name a folder"
        )
    return _download(name, revision, on_progress)


def _download(name: str, revision: str | None, on_progress: Progress | None) -> Path:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    called = _called(name, revision)
    # Errors of the hub library's own HTTP library, which is not the same one in every version.
    broken_line = cast(tuple[type[Exception], ...], (OSError, *HfHubHTTPError.__bases__))
    try:
        folder = _snapshot(name, revision, tqdm_class=_reporter(on_progress))
    except GatedRepoError as error:
        raise CheckpointError(
            f"{name} asks you to accept its terms at https://huggingface.co/{name}; "
            "do so, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"the hub has no model {name!r} that you may see{_nearest(name)}"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"{name} has no revision {revision!r}; see https://huggingface.co/{name}/commits/main"
        ) from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{called} is not on this machine and the hub cannot be reached; "
            "check the connection, or name a folder"
        ) from error
    except broken_line as error:
        raise CheckpointError(f"{called} could not be downloaded: {error}; try again") from error
    if folder is None:
        raise CheckpointError(f"{called} is on this machine only in part; download it again")
    if lacking := _lacking(folder):
        raise CheckpointError(f"{called} cannot be read here: {lacking}")
    return folder


def _snapshot(name: str, revision: str | None, **how: Any) -> Path | None:
    """The hub library's folder of a model; None if only local files count and some lack."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=WANTED, **how))
    except LocalEntryNotFoundError:
        if how.get("local_files_only"):
            return None
        raise


def _lacking(folder: Path) -> str | None:
    """What a downloaded folder misses, in words; an interrupted download leaves some files."""
    if not (folder / "config.json").is_file():
        return "it has no config.json"
    try:
        weight_files(folder)
    except CheckpointError as error:
        foreign = not (folder / WHOLE).exists() and not (folder / INDEX).exists()
        return f"it has no safetensors weights; {CONVERT}" if foreign else str(error)
    return None


def _reporter(on_progress: Progress | None) -> type:
    """A progress bar that draws nothing and tells the caller instead."""
    # The hub library brings tqdm, and asks for its like.
    from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]

    bars: list[Any] = []

    class Reporter(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})
            bars.append(self)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if on_progress is not None and self.counts_bytes:
                # Of bytes fetched and bytes written, the hub library may count one or both.
                counting = [bar for bar in bars if bar.counts_bytes]
                done = max(int(bar.n) for bar in counting)
                on_progress(done, max(done, *(int(bar.total or 0) for bar in counting)))

    return Reporter


def _told_to_stay_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _called(name: str, revision: str | None) -> str:
    return name if revision is None else f"{name} at revision {revision}"


def _nearest(name: str) -> str:
    """A hint at what may have been meant, or at what can be."""
    known = {DEMO: DEMO, RELEASED: RELEASED, RELEASED.partition("/")[2]: RELEASED}
    with suppress(OSError, ValueError):  # only a hint
        known |= {str(path): str(path) for path in Path(name).parent.iterdir() if path.is_dir()}
    near = get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {known[near[0]]}?"
    return f"; name {DEMO!r}, a folder that exists, or a model of the hub such as {RELEASED}"
