"""From the name that code gives to a folder on this machine."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.weights.fetch import resolve

# Words for the hub that change nothing here: what they ask for is so already, or has no meaning.
HARMLESS = frozenset(
    {
        "cache_dir",
        "force_download",
        "low_cpu_mem_usage",
        "resume_download",
        "token",
        "trust_remote_code",
        "use_auth_token",
        "use_fast",
        "use_safetensors",
    }
)


class UnusableFolderError(CheckpointError, OSError, ValueError):
    """No model that can be read; also what code for the reference expects to catch."""


def folder_of(
    name: str | PathLike[str],
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    **words: Any,
) -> Path:
    """The folder of a model: `demo`, a folder, or one of the hub, downloaded if it has to be.

    Raises:
        UnusableFolderError: there is none, or none without the network.
        ConfigError: a word that is not known.
    """
    if unknown := sorted(words.keys() - HARMLESS):
        raise ConfigError(f"from_pretrained has no argument {', '.join(unknown)}; leave it out")
    wanted = None if revision == "main" else revision
    try:
        return resolve(str(name), revision=wanted, offline=True if local_files_only else None)
    except CheckpointError as error:
        raise UnusableFolderError(str(error)) from error
