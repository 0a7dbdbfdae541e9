"""A run on disk: one process, one recipe, the last two good checkpoints, and what was logged.

    run.lock          held by the process that trains
    recipe.toml       what is trained; another recipe is refused
    step-0000500/     a checkpoint: see `checkpoint`
    log.jsonl         a line now and then; those past a step gone back to are dropped

A checkpoint found damaged is passed over, loudly, and kept aside as `step-0000500.damaged`.
"""

from __future__ import annotations

import difflib
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kosmos2.errors import CheckpointError, RecipeError
from kosmos2.train import checkpoint
from kosmos2.train.checkpoint import Checkpoint, Parts, found
from kosmos2.train.files import DRAFT, replace, sync
from kosmos2.train.lock import Lock
from kosmos2.train.logbook import Logbook
from kosmos2.weights.save import SaveError

log = logging.getLogger(__name__)

RECIPE, LOG = "recipe.toml", "log.jsonl"
KEEP = 2  # good checkpoints: the newest, and one to fall back on
_DAMAGED = ".damaged"
# Settings of how a run goes that have no say in what comes out: they may change on the way.
_FREE = re.compile(r"(workers|save_every|log_every|how) *=")


class NoCheckpoint(CheckpointError):
    """There are checkpoints, and not one of them is good."""

    exit_code = 66


class RunFolder:
    """Everything that a run writes but the model at its end."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path = path
        self._lock = lock
        self._log = Logbook(path / LOG)
        self._good: set[Path] = set()  # read and compared by this process

    @classmethod
    def open(cls, path: Path, recipe_text: str) -> RunFolder:
        """Make a folder, or go on in one; nobody else may until it is closed.

        Raises:
            Locked: another process trains into it.
            RecipeError: it was begun with another recipe.
            SaveError: it cannot be written.
        """
        try:
            is_new = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            if is_new:
                sync(path.parent)
            lock = Lock.take(path)
            try:
                folder = cls(path, lock)
                folder._agree(recipe_text)
                for draft in path.glob(f"*{DRAFT}"):  # what a kill left
                    shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise SaveError(
                f"cannot train into {path}: {error.strerror or error}; name another folder"
            ) from error
        return folder

    def close(self) -> None:
        """Let another process in."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def newest(self, load: Callable[[Checkpoint], object]) -> Checkpoint | None:
        """Load the newest good checkpoint; None if there has been none yet.

        Args:
            load: puts a checkpoint's state back; a CheckpointError of it counts as damage.

        Raises:
            NoCheckpoint: none of those there is good; nothing was changed.
        """
        damaged: dict[Path, CheckpointError] = {}
        for path in reversed(found(self.path)):
            try:
                good = checkpoint.read(path)
                load(good)
            except CheckpointError as error:
                log.warning("%s: PASSED OVER, trying the checkpoint before it", error)
                damaged[path] = error
                continue
            self._good.add(path)
            for wrong in damaged:
                _put_aside(wrong)
            self._log.forget_after(good.step)
            self.log({"step": good.step, "resumed": path.name, "state_hash": good.state_hash})
            log.info("going on from step %d of %s", good.step, self.path)
            return good
        if damaged:
            reasons = "; ".join(str(error) for error in damaged.values())
            raise NoCheckpoint(
                f"{self.path} has no good checkpoint: {reasons}. Nothing was changed; bring one "
                "back from a copy, or train into another folder"
            )
        self._log.forget_after(0)
        return None

    def save(
        self,
        step: int,
        parts: Parts,
        notes: Mapping[str, Any],
        more: Callable[[Path], None] | None = None,
    ) -> Path:
        """Write a checkpoint, compare what was written, and only then drop the oldest.

        A step that is there and good is not written again: the same run would write the same.
        `more` may write files of its own into the folder it is given, shards for instance.

        Raises:
            SaveError: the disk is full or broken; the checkpoints before are intact.
        """
        final = self.path / f"step-{step:07d}"
        if final.exists() and not self._is_good(final):
            _put_aside(final)
        if not final.exists():
            proof = checkpoint.write(final, step, parts, notes, more)
            self._good.add(final)
            self.log({"step": step, "saved": final.name, "state_hash": proof})
        self._prune()
        return final

    def log(self, line: Mapping[str, Any]) -> None:
        """Append a line to `log.jsonl`; see `logbook`."""
        self._log.append(line)

    def write(self, name: str, text: str) -> None:
        """Write a small file beside the checkpoints: there whole, or as it was before."""
        replace(self.path / name, text)

    def _agree(self, recipe_text: str) -> None:
        """Keep the recipe of a run that begins; compare it with that of one that goes on."""
        kept = self.path / RECIPE
        if found(self.path):
            if not kept.is_file():
                raise RecipeError(
                    f"{self.path} has checkpoints and no {RECIPE} that says of what; "
                    "bring it back, or train into another folder"
                )
            before = kept.read_text(encoding="utf-8", errors="replace")
            if difference := _difference(before, recipe_text):
                raise RecipeError(
                    f"{kept} {difference}; give the recipe it was begun with, "
                    "or train into another folder"
                )
            if before == recipe_text:
                return
        self.write(RECIPE, recipe_text)

    def _is_good(self, path: Path) -> bool:
        if path not in self._good:
            try:
                checkpoint.read(path)
            except CheckpointError as error:
                log.warning("%s", error)
                return False
            self._good.add(path)
        return True

    def _prune(self) -> None:
        """Drop what is older than the last good ones; one that will not go stays."""
        good = 0
        for path in reversed(found(self.path)):
            if good < KEEP:
                good += self._is_good(path)
                continue
            try:
                # Away at once: half a checkpoint must not look like one.
                gone = path.rename(path.with_name(path.name + DRAFT))
                shutil.rmtree(gone)
            except OSError as error:
                log.warning("%s cannot be removed: %s", path, error.strerror or error)


def _put_aside(path: Path) -> None:
    """Give a damaged checkpoint a name that is none, for whoever wants to know what happened."""
    aside = path.with_name(path.name + _DAMAGED)
    if aside.exists():
        shutil.rmtree(aside)
    path.rename(aside)


def _difference(before: str, now: str) -> str:
    """The first line in which two recipes differ, in words; empty if none does."""
    old, new = before.splitlines(), now.splitlines()
    for kind, i, i_end, j, j_end in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        was = [line for line in old[i:i_end] if not _FREE.match(line)]
        now_is = [line for line in new[j:j_end] if not _FREE.match(line)]
        if kind == "equal" or was == now_is:
            continue
        table = next((line for line in reversed(old[: i + 1]) if line.startswith("[")), "")
        place = f"line {i + 1}{f' of {table}' if table else ''}"
        here, there = (next(iter(lines), "nothing") for lines in (was, now_is))
        return f"says in {place} {here!r}, and the recipe given says {there!r}"
    return ""
