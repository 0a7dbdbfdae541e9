"""A training run that never ran: what its watchers would be told, and the folder it would leave."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from kosmos2.geometry import Box
from kosmos2.train.watching.held_out import Answer, HeldOut, store

EVIL = "<script>alert('x')</script> & \"quoted\" \x1b[31m\x00"

RECIPE = """\
name = "tiny"
about = "two stages of nothing"

[model]
start = "demo"

[train]
freeze = ["vision.*"]

[[data]]
path = "rows <b>.jsonl"
format = "jsonl"

[[stage]]
name = "see"
steps = 40
rows = 8

[[stage]]
name = "tell"
steps = 60
rows = 4
rate = 1e-3
"""


@dataclass
class Report:
    loss: float = 2.5
    words: float | None = 1.25
    contrast: float | None = None
    norm: float = 0.5
    kinds: dict[str, float] = field(default_factory=lambda: {"find": 0.75})


@dataclass
class Place:
    """What the loop tells of a step."""

    stage: str = "tell"
    step: int = 30
    steps: int = 60
    rows_per_s: float | None = 12.0
    tokens_per_s: float | None = 12345.0
    share_of_peak: float | None = 0.375
    left_s: float | None = 65.0
    report: Report = field(default_factory=Report)


def held_out(step: int, *, right: bool, phrase: str = "a dog") -> HeldOut:
    """Two phrases about one picture: the second is always found, the first if `right`."""
    true, wrong = Box(0.1, 0.1, 0.5, 0.5), Box(0.6, 0.6, 0.9, 0.9)
    picture = Image.new("RGB", (80, 60), (90, 120, 150))
    first = Box(0.1, 0.1, 0.5, 0.46, 0.75) if right else wrong
    answers = (
        Answer("rows.jsonl:1", 0, phrase, (wrong, true) if right else (true,), first),
        Answer("rows.jsonl:1", 0, "a cat", (true,), Box(*true.corners, 0.5)),
    )
    return HeldOut(step, answers, (picture,))


def run_folder(folder: Path, *, steps: int = 100, phrase: str = "a dog") -> Path:
    """A whole run of two stages, logged every tenth step, asked before and after."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE)
    lines = []
    for whole in range(10, steps + 1, 10):
        see = whole <= 40
        report = {
            "loss": 4.0 - whole / 50,
            "words": None if see else 1.5 - whole / 100,
            "patches_right": whole / 100,
            "norm": 1.0,
            "kinds": {} if see else {"find": 0.5, "<b>caption": 0.75},
        }
        lines.append(
            {
                "stage": "see" if see else "tell",
                "step": whole if see else whole - 40,
                "rows_per_s": 20.0,
                "tokens_per_s": 4000.0,
                "share_of_peak": 0.25,
                "report": report,
                "whole": whole,
                "bad": 3,
            }
        )
    lines.append({"step": steps, "saved": f"step-{steps:07d}", "state_hash": "ab" * 32})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"stage": "tell", "st')  # a kill cut it short
    store(held_out(0, right=False, phrase=phrase), folder)
    store(held_out(steps, right=True, phrase=phrase), folder)
    return folder


class Page(HTMLParser):
    """Tags and words of a page, and whether its tags are closed in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words, in one line."""
        return " ".join(" ".join(self.words).split())

    def asks_for(self) -> list[str]:
        """Everything that a browser would fetch or run."""
        names = {"script", "link", "iframe", "object", "embed", "base", "form"}
        found = [tag for tag, _ in self.tags if tag in names]
        for _, attributes in self.tags:
            for name, value in attributes.items():
                if name.startswith("on"):
                    found.append(name)
                if name in ("href", "src", "xlink:href") and not str(value).startswith("data:"):
                    found.append(f"{name}={value}")
        return found
