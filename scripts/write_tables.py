"""Write the measured tables of README.md and the model card from the file that `eval` wrote.

    kosmos2 eval scenes --count 1000 --seed 777 --json > results/embedded-model.json
    python scripts/write_tables.py

A table stands between two comments; what is there is replaced. `--check` only says whether it would
change anything.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "results" / "embedded-model.json"
PAGES = (ROOT / "README.md", ROOT / "src/kosmos2/assets/demo/README.md")
BEGIN, END = "<!-- measured: embedded model -->", "<!-- end of measured -->"

ROWS = (
    ("a plain phrase is found (IoU at least 0.5)", ("referring", "plain", "acc50")),
    ("its mean IoU", ("referring", "plain", "mean_iou")),
    ("a phrase that needs its relation (several such things)", ("referring", "relation", "acc50")),
    ("its mean IoU", ("referring", "relation", "mean_iou")),
    ("what is in a box is named", ("naming", "accuracy")),
    ("detailed captions: boxes that are right, of those given", ("caption", "precision")),
    ("detailed captions: things that are told, of those there", ("caption", "recall")),
    ("detailed captions: F1", ("caption", "f1")),
    ("questions answered", ("questions", "accuracy")),
    ("a thing that is there scores above one that is not (AUC)", ("absent", "auc")),
)  # fmt: skip


def table(measured: dict[str, Any]) -> str:
    """The figures as Markdown, each with its 95 % interval."""
    lines = [
        f"{measured['count']:,} scenes of seed {measured['seed']}, never trained on:",
        "",
        "| figure | | 95 % interval |",
        "|---|---|---|",
    ]
    for words, path in ROWS:
        *rooms, name = path
        held = measured
        for room in rooms:
            held = held[room]
        low, high = held[f"{name}_interval"]
        lines.append(f"| {words} | {held[name]:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(lines)


def written(page: str, text: str) -> str:
    """A page with the text between its two comments."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> int:
    """Write, or with --check compare."""
    text = table(json.loads(MEASURED.read_text()))
    stale = [page for page in PAGES if written(page.read_text(), text) != page.read_text()]
    if "--check" in sys.argv[1:]:
        for page in stale:
            print(f"{page.relative_to(ROOT)} is not what {MEASURED.relative_to(ROOT)} says")
        return 1 if stale else 0
    for page in stale:
        page.write_text(written(page.read_text(), text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
