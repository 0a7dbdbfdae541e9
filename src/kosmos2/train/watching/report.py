"""`report.html`: how a run went, in one file that needs nothing else.

It is made of the run folder alone, so it can be made again, on another machine, years later.
"""

from __future__ import annotations

import logging
from pathlib import Path

from kosmos2.drawing import whole
from kosmos2.errors import DataError
from kosmos2.train.watching import curves, pictures
from kosmos2.train.watching.curves import Curve, chart
from kosmos2.train.watching.held_out import HIT, HeldOut, store
from kosmos2.train.watching.live import duration, short
from kosmos2.train.watching.page import card, document, escape, table
from kosmos2.train.watching.record import Record, settings
from kosmos2.train.watching.watcher import Run, Watcher

log = logging.getLogger(__name__)

REPORT = "report.html"
_NAMED = 10  # bad rows
_SHARES = ("patches_right", "latents_right")
_KINDS = "kinds/"
_CALLED = {
    "words": "words and tags",
    "places": "locations",
    "contrast": "pictures and texts",
    "patches_right": "on patches",
    "latents_right": "on latents",
    "rows_per_s": "samples/s",
    "share_of_peak": "share of peak",
    "norm": "before clipping",
}

_STYLE = (
    curves.STYLE
    + pictures.STYLE
    + """
header p.lead{font-size:1.05rem}
.state{display:inline-block;border-radius:99px;padding:.1rem .7rem;font-size:.85rem;font-weight:600;
background:var(--sunk);border:1px solid var(--line);margin-top:.7rem}
.state.done{color:var(--good)}.state.not{color:var(--bad)}
.tiles{display:grid;gap:1.1rem 1.5rem;grid-template-columns:repeat(auto-fill,minmax(8rem,1fr))}
.tile.wide{grid-column:span 2}
.tile b{display:block;font-size:1.5rem;font-weight:600;line-height:1.25;letter-spacing:-.01em;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tile span{color:var(--soft);font-size:.85rem;display:block}
.tile i{font-style:normal;color:var(--soft);font-weight:400}
.recipe{columns:2 22rem;column-gap:2.5rem}
.recipe section{break-inside:avoid;margin-bottom:1.1rem}
.recipe table{table-layout:fixed}.recipe th{width:45%}
@media print{body{padding:0}.card{break-inside:avoid}details{display:none}}
"""
)


class Reporter(Watcher):
    """Keeps held-out answers in the run folder and writes the report when the run ends."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def start(self, run: Run) -> None:
        """Where to write."""
        self._folder = run.folder

    def held_out(self, found: HeldOut) -> None:
        """Keep it."""
        if self._folder is not None:
            store(found, self._folder)

    def end(self) -> None:
        """Write the report; a run that ended well does not fail for a page."""
        if self._folder is None:
            return
        try:
            log.info("wrote %s", write_report(self._folder))
        except (OSError, DataError) as error:
            log.warning("there is no %s: %s", REPORT, error)


def write_report(folder: Path) -> Path:
    """Make `report.html` of a run folder, from what is in it.

    Raises:
        DataError: no training ran there.
    """
    text = html_of(Record.read(folder))
    with whole(folder / REPORT) as draft:
        draft.write_text(text, encoding="utf-8")
    return folder / REPORT


def html_of(run: Record) -> str:
    """The page."""
    name = str(run.recipe.get("name") or "training")
    body = [
        _head(run, name),
        _refused(run),
        card("In short", _tiles(run)),
        card("Losses", _losses(run)),
        card("Held-out pictures, before and after" if len(run.held_out) > 1 else
             "Held-out pictures", pictures.before_and_after(run.held_out)),
        card("Pace", _pace(run)),
        card("Rows that could not be used", _bad_rows(run)),
        card("Recipe", _recipe(run)),
    ]  # fmt: skip
    return document(f"{name}: how it was trained", body, _STYLE)


def _head(run: Record, name: str) -> str:
    done = bool(run.wanted) and run.last >= run.wanted
    far = f"step {run.last:,} of {run.wanted:,}" if run.wanted else f"step {run.last:,}"
    state = "done" if done else "not"
    said = f"finished, {run.last:,} steps" if done else f"not finished: {far}"
    about = str(run.recipe.get("about") or "")
    return (
        f"<header>\n<h1>{escape(name)}</h1>\n"
        + (f'<p class="lead">{escape(about)}</p>\n' if about else "")
        + f'<span class="state {state}">{escape(said)}</span>\n</header>'
    )


def _refused(run: Record) -> str:
    """A step whose loss was no number is the first thing to see."""
    if not run.refused:
        return ""
    rows = run.refused.get("rows")
    names = ", ".join(map(str, rows)) if isinstance(rows, list) else ""
    stage, step, loss = (str(run.refused.get(key, "?")) for key in ("stage", "step", "loss"))
    said = f"Nothing was learnt from step {step} of stage {stage}: its loss was {loss}."
    return f'<p class="alert">{escape(said)}{escape(f" Its rows: {names}") if names else ""}</p>'


def _tiles(run: Record) -> str:
    tiles: list[tuple[str, str, str]] = []  # what, before, now
    if run.held_out:
        first, last = run.held_out[0], run.held_out[-1]
        more = len(run.held_out) > 1
        accuracy, iou = f"{last.accuracy:.1%}", f"{last.mean_iou:.3f}"
        count = f"of {len(last.answers):,} held-out phrases found (IoU ≥ {HIT:g})"
        tiles.append((count, f"{first.accuracy:.1%}" if more else "", accuracy))
        mean = "mean IoU on held-out phrases"
        tiles.append((mean, f"{first.mean_iou:.3f}" if more else "", iou))
    loss = run.curve("loss").points
    if loss:
        stages = [stage.first for stage in run.stages if stage.first <= loss[-1][0]]
        begun = max(stages, default=0)
        here = [value for step, value in loss if step >= begun]
        tiles.append(("loss" if len(stages) < 2 else "loss of the last stage",
                      f"{here[0]:.3g}", f"{here[-1]:.3g}"))  # fmt: skip
    tiles.append(("steps", "", f"{run.last:,}"))
    if run.rows:
        tiles.append(("rows learnt from, repeats counted", "", short(run.rows)))
    speed, tokens, peak = map(run.usual, ("rows_per_s", "tokens_per_s", "share_of_peak"))
    if speed:
        tiles.append(("samples/s, the median", "", short(speed)))
        tiles.append(("of training, about", "", duration(run.rows / speed)))
    if tokens:
        tiles.append(("tokens/s, the median", "", short(tokens)))
    if peak is not None:
        tiles.append(("of the machine's measured peak", "", f"{peak:.0%}"))
    memory = [value for _, value in run.curve("memory").points]
    if max(memory, default=0):
        tiles.append(("GiB of GPU memory at most", "", f"{max(memory) / 2**30:.1f}"))
    bad, _ = run.bad_rows()
    tiles.append(("rows could not be used", "", f"{bad:,}"))
    return '<div class="tiles">' + "".join(
        f'<div class="tile{" wide" if before else ""}">'
        f'<b>{f"<i>{escape(before)} →</i> " if before else ""}{escape(now)}</b>'
        f"<span>{escape(what)}</span></div>"
        for what, before, now in tiles
    ) + "</div>"  # fmt: skip


def _losses(run: Record) -> str:
    named = run.names()
    apart = {"loss", "norm", *_SHARES}
    kinds = [name for name in named if name.startswith(_KINDS)]
    parts = [
        name for name in named if name not in apart and not name.startswith((_KINDS, "counts/"))
    ]
    shares = [name for name in named if name in _SHARES]
    stages = run.stages

    def of(names: list[str]) -> list[Curve]:
        return [run.curve(name, _called(name.removeprefix(_KINDS))) for name in names]

    drawn = [
        chart("Loss", [run.curve("loss", "whole")], stages, broad=True),
        chart("By what is foretold (nats a token)", of(parts), stages),
        chart("By kind of lesson (nats a token)", of(kinds), stages),
        chart("Things named right", of(shares), stages, percent=True),
        chart("Norm of the gradients", of([name for name in named if name == "norm"]), stages),
    ]
    measured = [
        Curve(name, tuple((float(one.step), getattr(one, field)) for one in run.held_out))
        for name, field in (("share found", "accuracy"), ("mean IoU", "mean_iou"))
    ]
    if len(run.held_out) > 2:
        drawn.insert(1, chart("Held-out phrases", measured, smooth=False))
    inside = "".join(drawn)
    return f'<div class="curves">{inside}</div>' if inside else ""


def _pace(run: Record) -> str:
    drawn = [
        chart("Samples a second", [run.curve("rows_per_s", "samples/s")], run.stages),
        chart("Share of the machine's peak", [run.curve("share_of_peak", "share")], run.stages,
              percent=True),
    ]  # fmt: skip
    inside = "".join(drawn)
    return f'<div class="curves">{inside}</div>' if inside else ""


def _bad_rows(run: Record) -> str:
    count, told = run.bad_rows()
    if not count:
        return ""
    share = f" of {run.rows + count:,} ({count / (run.rows + count):.2%})" if run.rows else ""
    more = f"<li>and {count - _NAMED:,} more</li>" if told and count > _NAMED else ""
    items = "".join(f"<li>{escape(one)}</li>" for one in told[:_NAMED])
    listed = f"<ul>{items}{more}</ul>" if told else ""
    return f"<p>{count:,}{share} were left out, and others were taken instead.</p>{listed}"


def _recipe(run: Record) -> str:
    if not run.recipe_text:
        return ""
    groups: dict[str, list[tuple[str, str]]] = {}
    for place, name, value in settings(run.recipe):
        if place or name not in ("name", "about"):
            groups.setdefault(place, []).append((name.replace("_", " "), value))
    shown = "".join(
        f"<section><h3>{escape(place or 'general')}</h3>{table(rows)}</section>"
        for place, rows in groups.items()
    )
    newest = run.saved[-1] if run.saved else None
    proof = ""
    if newest is not None:
        state = str(newest.get("state_hash", ""))
        proof = (
            f'<p class="soft">Last checkpoint: {escape(str(newest["saved"]))}'
            + (f", state <code>{escape(state)}</code>" if state else "")
            + "</p>"
        )
    return (
        f'<div class="recipe">{shown}</div>{proof}'
        f"<details><summary>recipe.toml as it was followed</summary>"
        f"<pre>{escape(run.recipe_text)}</pre></details>"
    )


def _called(name: str) -> str:
    return _CALLED.get(name, name.replace("_", " "))
