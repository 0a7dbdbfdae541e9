"""`kosmos2 models`: what can be named after --model."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kosmos2.cli.arguments import Commands, command
from kosmos2.cli.output import clean, show


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "models", _run, "list the models on this machine")
    parser.add_argument("--json", action="store_true", help="one JSON document, no more")


def _run(arguments: Namespace) -> int:
    from kosmos2.weights.fetch import RELEASED

    found = list(_found())
    if arguments.json:
        show(json.dumps({"models": found}))
        return 0
    widest = max(len(row["name"]) for row in found)
    for row in found:
        size = f"{row['bytes'] / 1e6:,.0f} MB" if row["bytes"] else ""
        show(f"  {clean(row['name']):<{widest}}  {size:>9}  {clean(row['place'])}")
    show("")
    show("--model also takes a folder with config.json, weights and tokenizer, and any such")
    show(f"model of the Hugging Face hub by its name, such as {RELEASED}")
    return 0


def _found() -> Iterator[dict[str, Any]]:
    """The model in the package, then those that were downloaded before."""
    from kosmos2.weights.fetch import DEMO, DEMO_FOLDER

    there = (DEMO_FOLDER / "config.json").is_file()
    size = sum(file.stat().st_size for file in DEMO_FOLDER.iterdir()) if there else 0
    place = "in the package" if there else "missing from this installation"
    yield {"name": DEMO, "bytes": size, "place": place, "here": there}
    yield from _downloaded()


def _downloaded() -> Iterator[dict[str, Any]]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        for revision in repo.revisions:
            if repo.repo_type == "model" and _is_ours(Path(revision.snapshot_path)):
                name, size = repo.repo_id, revision.size_on_disk
                yield {
                    "name": name, "bytes": size, "place": str(revision.snapshot_path), "here": True
                }  # fmt: skip


def _is_ours(folder: Path) -> bool:
    from kosmos2.errors import CheckpointError
    from kosmos2.weights.stored import read_json

    try:
        return read_json(folder / "config.json").get("model_type") == "kosmos-2"
    except CheckpointError:
        return False  # somebody else's, or half a download
