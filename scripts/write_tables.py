"""Write the measured tables of the pages from the files that `eval` and `make bench` wrote.

    kosmos2 eval scenes --count 2000 --seed 777 --json > results/embedded-model.json
    make bench                                          # writes results/bench.json
    python benchmarks/serving_load.py --out results/serving-load.json      # see docs/serve.md
    python benchmarks/finetune.py --to results/finetune.json               # see docs/training.md
    python scripts/write_tables.py

A table stands between two comments; what is there is replaced. `--check` only says whether it would
change anything.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
END = "<!-- end of measured -->"


def digits(value: float) -> str:
    """Three digits, or all of a larger whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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
    ("a thing that is not there gets no box", ("absent", "nowhere")),
)  # fmt: skip
MORE_ROWS = (  # of worlds that have attributes
    ("a phrase that needs its colour (several such things)", ("attributes", "colour", "acc50")),
    ("a phrase that needs its size", ("attributes", "size", "acc50")),
    ("how many are there?", ("question_kinds", "count", "accuracy")),
    ("is there one?", ("question_kinds", "presence", "accuracy")),
    ("what is to the left of it, above it?", ("question_kinds", "where", "accuracy")),
    ("what color is it?", ("question_kinds", "colour", "accuracy")),
    ("a thing scores above itself in a wrong colour (AUC)", ("absent_colour", "auc")),
    ("a plain phrase in a JPEG of quality 30", ("robust", "jpeg", "acc50")),
    ("a plain phrase in a blurred picture", ("robust", "blur", "acc50")),
)


CLOSER = ROOT / "results/embedded-model-closer.json"
SEARCHED = ROOT / "results/embedded-model-beams.json"
BESIDE = (  # the same figures of others, where they were measured
    ("this one, looking twice (captions of 5 beams)", CLOSER),
    ("first edition, same scenes", ROOT / "results/embedded-first-here.json"),
    ("this one, first edition's world", ROOT / "results/embedded-model-first-world.json"),
    ("first edition, its own world", ROOT / "results/embedded-first.json"),
)


def table(measured: dict[str, Any]) -> str:
    """The figures as Markdown, each with its 95 % interval, and those of others beside them."""
    beside = {words: json.loads(file.read_text()) for words, file in BESIDE if file.is_file()}
    lines = [
        f"{measured['count']:,} scenes of seed {measured['seed']}, never trained on:",
        "",
        f"| figure | | 95 % interval |{''.join(f' {words} |' for words in beside)}",
        f"|---|---|---|{'---|' * len(beside)}",
    ]
    for words, path in ROWS + (MORE_ROWS if "attributes" in measured else ()):
        *rooms, name = path
        low, high = figure(measured, *rooms, f"{name}_interval")
        row = [words, f"{figure(measured, *path):.3f}", f"{low:.3f} to {high:.3f}"]
        others = [figure(one, *path) for one in beside.values()]
        row += ["-" if value is None else f"{value:.3f}" for value in others]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


GOALS = (  # of the embedded model, second edition, on scenes that it never saw
    ("a plain phrase is found", ("referring", "plain", "acc50"), 0.97),
    ("a phrase that needs its relation", ("referring", "relation", "acc50"), 0.90),
    ("what is in a box is named", ("naming", "accuracy"), 0.97),
    ("detailed captions: F1 of things with their boxes", ("caption", "f1"), 0.93),
    ("questions answered", ("questions", "accuracy"), 0.93),
    ("absent things told from present ones (AUC)", ("absent", "auc"), 0.97),
)


def goals(measured: dict[str, Any]) -> str:
    """What the embedded model was to reach, and what it reaches in one look and with more care."""
    twice, searched = json.loads(CLOSER.read_text()), json.loads(SEARCHED.read_text())
    lines = [
        f"{measured['count']:,} scenes of seed {measured['seed']}, never trained on:",
        "",
        f"| | goal | as it comes | captions of {searched['beams']} beams | looking twice, "
        f"captions of {twice['beams']} beams |",
        "|---|---|---|---|---|",
    ]
    for words, path, goal in GOALS:
        beams = figure(searched, *path) if path[0] == "caption" else None
        found = [figure(measured, *path), beams, figure(twice, *path)]
        told = ["-" if one is None else _bold(f"{one:.3f}", if_=one >= goal) for one in found]
        lines.append(f"| {words} | {goal:.2f} | {' | '.join(told)} |")
    return "\n".join(lines)


STEPS = {  # of a caption that looks twice
    "one look": "one look",
    "mended": "phrases that are not sure are named anew",
    "once": "one place is told once",
    "sharper": "boxes are drawn from closer",
    "with more": "what the quarters of the picture show is added",
}


def retelling(measured: dict[str, Any]) -> str:
    """What each step of a caption that looks twice gives and takes."""
    lines = [
        f"{measured['scenes']:,} scenes of seed {measured['seed']}, captions of "
        f"{measured['beams']} beams, one thread of a machine that did other things beside it:",
        "",
        "| after | precision | recall | F1 | mean IoU | the step's seconds a picture |",
        "|---|---|---|---|---|---|",
    ]
    for name, words in STEPS.items():
        step = measured["steps"][name]
        shares = [f"{step[what]:.3f}" for what in ("precision", "recall", "f1", "mean_iou")]
        lines.append(f"| {words} | {' | '.join(shares)} | {step['seconds_a_scene']:.2f} |")
    return "\n".join(lines)


def _bold(words: str, *, if_: bool) -> str:
    return f"**{words}**" if if_ else words


def figure(measured: dict[str, Any], *path: str) -> Any:
    """One of them; None if it was not measured."""
    held: Any = measured
    for room in path:
        held = held.get(room)
        if held is None:
            return None
    return held


REFERENCE = "transformers"
COLUMNS = {
    "kosmos2-fp32": "fp32",
    "kosmos2-int8": "int8",
    "kosmos2-int4": "int4",
    "openvino-int8": "OpenVINO's int8",
}
SPEEDS = (  # what is said of a case, the case, the figure
    ("first token: a picture, a prompt of 71 tokens", "first_token", "seconds"),
    ("each further token", "decode_b1", "seconds_a_step"),
    ("each step of 4 answers", "decode_b4", "seconds_a_step"),
    ("each step of 16 answers", "decode_b16", "seconds_a_step"),
    ("{phrases} phrases on one picture", "phrases", "seconds"),
    ("{requests} mixed requests arriving: tokens a second", "arrivals", "tokens_a_second"),
    ("the same: first token, 95th percentile", "arrivals", "first_token_p95_s"),
    ("{pictures} pictures captioned: pictures a second", "captions", "pictures_a_second"),
    ("process start to first answer", "cold_full", "seconds"),
    ("most memory", "cold_full", "peak_bytes"),
    ("the model in the package: process start to first answer", "cold_embedded", "seconds"),
)  # fmt: skip


def speed(measured: dict[str, Any]) -> str:
    """How many times better than the reference, and the figures themselves."""
    machine, cases = measured["machine"], measured["cases"]
    ran = {peer: word for peer, word in COLUMNS.items() if peer in measured["peers"]}
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, "
        f"{_memory(measured)} GB/s of memory, "
        f"{machine['operations_a_second'] / 1e9:.0f} GFLOP/s in float32; random weights of full "
        f"size; times better than transformers "
        f"{measured['peers'][REFERENCE]['versions']['transformers']} in float32, side by side:",
        "",
        f"| | transformers | {' | '.join(ran.values())} |",
        f"|---|---|{'---|' * len(ran)}",
    ]
    for words, name, what in SPEEDS:
        case = cases.get(name, {"peers": {}})
        if what not in case["peers"].get(REFERENCE, {}):
            continue
        row = [words.format_map(case), amount(case["peers"][REFERENCE][what]["median"], what)]
        lines.append(f"| {' | '.join(row + [_better(case, peer, what) for peer in ran])} |")
    shares = cases.get("decode_b1", {"peers": {}})["peers"]
    if any("memory_share" in figures for figures in shares.values()):
        row = [
            f"{shares[peer]['memory_share']['median']:.0%}" if peer in shares else "-"
            for peer in (REFERENCE, *ran)
        ]
        lines.append(f"| each further token: share of what memory allows | {' | '.join(row)} |")
    return "\n".join(lines)


def _memory(measured: dict[str, Any]) -> str:
    """What was read in a second, before, between and after the cases: it changes by the minute."""
    rates = [measured["machine"]["bytes_a_second"]]
    for case in measured["cases"].values():
        if any("memory_share" in figures for figures in case["peers"].values()):
            rates.append(case.get("limit_a_second", rates[0]))
    low, high = (f"{rate / 1e9:.0f}" for rate in (min(rates), max(rates)))
    return low if low == high else f"{low} to {high}"


def amount(value: float, what: str) -> str:
    """A figure with its unit."""
    if what == "peak_bytes":
        return f"{value / 2**30:.2f} GiB"
    if what.endswith("_a_second"):
        return f"{value:.3g}"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.3g} s"


def _better(case: dict[str, Any], peer: str, what: str) -> str:
    figures = case["peers"].get(peer, {}).get(what)
    if figures is None or "better" not in figures:
        return "-"
    times = figures["better"]["median"]
    return f"**{times:.{1 if times >= 10 else 2}f}x** ({amount(figures['median'], what)})"


LOADS = (  # of each rate of requests
    ("requests a second", lambda one: f"{digits(one['rate'])} ({one['share']:.0%} of the most)"),
    ("answered", lambda one: f"{digits(one['requests_a_second'])}"),
    ("tokens a second", lambda one: f"{digits(one['tokens_a_second'])}"),
    ("first token", lambda one: _milliseconds(one["first_token_ms"])),
    ("whole answer", lambda one: _milliseconds(one["whole_ms"])),
    ("refused", lambda one: f"{one['refused'] / one['sent']:.0%}"),
)


def load(measured: dict[str, Any]) -> str:
    """What becomes of requests that come at so many a second."""
    (most,) = measured["capacity"]
    lines = [
        f"At most {digits(most['requests_a_second'])} mixed requests a second, "
        f"{digits(most['tokens_a_second'])} tokens. At random moments, in milliseconds at the "
        "50th, 95th and 99th percentile:",
        "",
        f"| {' | '.join(words for words, _ in LOADS)} |",
        f"|{'---|' * len(LOADS)}",
    ]
    lines += [f"| {' | '.join(tell(one) for _, tell in LOADS)} |" for one in measured["rates"]]
    return "\n".join(lines)


PROMISED_MS = 50


def over(measured: dict[str, Any]) -> str:
    """What becomes of far too many."""
    runs = measured["rates"]
    sent, answered, refused, lost = (
        f"{sum(one[name] for one in runs):,}" for name in ("sent", "answered", "refused", "broken")
    )
    p50, p99, usual = (
        f"{median(one['refused_ms'][name] for one in runs):.0f} ms"
        for name in ("p50", "p99", "max")
    )
    late = sorted(
        (one["refused_ms"]["max"], one["machine_still_ms"])
        for one in runs
        if one["refused_ms"]["max"] > PROMISED_MS
    )
    each = ", ".join(f"{slowest:.0f} ms ({still or 0:.0f})" for slowest, still in late)
    others = (
        f"; in the others the slowest took (and the machine itself stood still for up to): {each}"
    )
    return (
        f"**{runs[0]['share']:.0f} times as many as can be answered**, sent {len(runs)} times: "
        f"{sent} sent, {answered} answered, all that were let in; {refused} refused, in {p50} "
        f"(50th percentile) to {p99} (99th), the slowest of a run in {usual} (medians of the "
        f"runs); {lost} lost. In {len(runs) - len(late)} of {len(runs)} runs all refusals came "
        f"within {PROMISED_MS} ms{others if late else ''}."
    )


def cost(measured: dict[str, Any]) -> str:
    """What HTTP takes."""
    known, new = (measured["first_token"][name] for name in ("known", "new"))
    late = "later" if known["later_ms"] >= 0 else "earlier"
    return (
        f"**HTTP against the bare engine**, {measured['streams']} streams of "
        f"{measured['tokens']} tokens: {measured['ratio']:.0%} of its tokens a second "
        f"({measured['http_tokens_a_second']:,.0f} of {measured['engine_tokens_a_second']:,.0f}, "
        f"median of {measured['rounds']} rounds from {min(measured['ratios']):.2f} to "
        f"{max(measured['ratios']):.2f}; with every core the bare engine gave "
        f"{measured['engine_with_all_cores']:,.0f}). "
        f"First token {abs(known['later_ms']):.1f} ms {late} where the picture is known "
        f"({known['http_ms']:.1f} against {known['engine_ms']:.1f}), {new['later_ms']:.1f} ms "
        f"where it is new ({new['http_ms']:.1f} against {new['engine_ms']:.1f}, decoded "
        "beforehand)."
    )


def soak(measured: dict[str, Any]) -> str:
    """What stays after minutes at the limit."""
    before, after = measured["before"], measured["after"]
    named = {"files": "files", "threads": "threads", "tasks": "tasks", "decoders": "processes"}
    held = ", ".join(
        f"{word} {before[name]:.0f} before and {after[name]:.0f} after"
        for name, word in named.items()
    )
    return (
        f"**{measured['minutes']:.0f} minutes at the limit**, after "
        f"{measured['warm_requests']:,} requests until the caches were full, "
        f"{measured['requests']:,} requests: "
        f"memory of all processes {before['memory_mib']:.0f} MiB before (what they share is "
        f"counted in each), {after['memory_mib']:.0f} after, "
        f"{measured['memory_mib_a_minute']:+.2f} MiB a minute over the second half; {held}."
    )


def hostile(measured: dict[str, Any]) -> str:
    """What became of requests made to hurt."""
    memory, live = measured["memory_mib"], measured["liveness_ms"]
    return (
        f"**{measured['requests']:,} hostile requests**: {measured['five_hundreds']} statuses of "
        f"500 or above; {measured['golden']['asked']:,} good ones beside them, "
        f"{measured['golden']['different']} answered in other bytes; memory at most "
        f"{memory['growth']:,} MiB more; liveness answered within {live['p99']:.0f} ms "
        "(99th percentile)."
    )


def training(measured: dict[str, Any]) -> str:
    """How fast the trainer is beside a plain loop around the reference."""
    versions = measured["versions"]
    lines = [
        f"Samples a second on {measured['threads']} threads with {measured['processor']}, in "
        f"float32, beside a plain loop around transformers {versions['transformers']} with the "
        f"same weights, rows and optimiser (torch {versions['torch']}), step by step in turns:",
        "",
        "| | parameters | transformers | here | times | loading: times what is used up |",
        "|---|---|---|---|---|---|",
    ]
    for name, size in measured["sizes"].items():
        rate, times = size["samples_per_s"], size["times_faster"]
        several = size.get("samples_in_a_row", 1)
        what = name if several == 1 else f"{name}: {several:.0f} a picture"
        loaded = f"{size['loading']['times_used_up']:.3g}x" if "loading" in size else "-"
        lines.append(
            f"| {what} | {size['parameters'] / 1e6:,.0f} M | {digits(rate['reference'])} | "
            f"{digits(rate['ours'])} | **{times['median']:.2f}x** ({times['least']:.2f} to "
            f"{times['most']:.2f}) | {loaded} |"
        )
    kept = [
        digits(size["samples_per_s"]["reference, freed memory kept"])
        for size in measured["sizes"].values()
        if "reference, freed memory kept" in size["samples_per_s"]
    ]
    lines += ["", f"With freed memory kept, transformers does {', '.join(kept)}."] if kept else []
    missed = [goal["what"] for goal in measured["goals"] if not goal["kept"]]
    lines += ["", f"Goals that are missed: {'; '.join(missed)}."] if missed else []
    return "\n".join(lines)


def lora_memory(measured: dict[str, Any]) -> str:
    """What full-size LoRA takes at its worst moment."""
    row, lora = measured["row"], measured["lora"]
    seconds = sorted(measured["seconds_a_step"])
    return (
        f"**At the released size** ({measured['numbers_in_the_base'] / 1e9:.2f} B numbers as "
        f"{lora['base']}, {measured['numbers_that_learn'] / 1e6:.1f} M that learn, rank "
        f"{lora['rank']}, one row of a picture and {row['tokens']} tokens a step): "
        f"{measured['peak_bytes'] / 2**30:.2f} GiB at the worst moment of the whole process, of "
        f"{measured['goal_bytes'] / 2**30:.0f} that were allowed; "
        f"{seconds[len(seconds) // 2]:.0f} s a step on {measured['threads']} threads in "
        f"{measured['precision']}."
    )


def finetune(measured: dict[str, Any]) -> str:
    """What labelled pictures taught, and what they cost."""
    goal, (new, old) = measured["goal"], (measured["new"], measured["old"])
    count = {name: measured["after"][name]["count"] for name in ("new", "old")}
    return "\n".join(
        [
            f"{measured['pictures']} pictures of {len(measured['nouns'])} things that the model "
            f"in the package had never seen, {measured['steps']} steps, "
            f"{measured['seconds']:.0f} seconds on {measured['cores']} cores (the goal: "
            f"{goal['seconds']} on {goal['cores']}):",
            "",
            "| plain phrases found (IoU at least 0.5) | before | after | goal |",
            "|---|---|---|---|",
            f"| new nouns, {count['new']} unseen scenes | {new[0]:.3f} | **{new[1]:.3f}** | "
            f"{goal['new']:.2f} |",
            f"| old nouns, {count['old']} unseen scenes | {old[0]:.3f} | **{old[1]:.3f}** | "
            f"at most {goal['lost']:.2f} less |",
        ]
    )


def train_resume(measured: dict[str, Any]) -> str:
    """Whether killed runs end in the same bits."""
    runs = measured["runs"]
    kills = ", ".join(str(count) for count in sorted({run["kills"] for run in runs}))
    workers = " and ".join(str(count) for count in sorted({run["workers"] for run in runs}))
    same = sum(run["same"] for run in runs)
    return (
        f"**{same} of {len(runs)} runs** that were killed (SIGKILL) at random moments, {kills} "
        f"times with {workers} loader processes, ended in the same bits as the one that was not: "
        f"{measured['compared']} losses, states and files compared."
    )


def _milliseconds(shares: dict[str, float]) -> str:
    return ", ".join(f"{shares[name]:.0f}" for name in ("p50", "p95", "p99"))


@dataclass(frozen=True)
class Block:
    """A table, the file that it is made of, and the pages that it may stand on."""

    name: str
    measured: Path
    write: Callable[[dict[str, Any]], str]
    pages: tuple[Path, ...]

    @property
    def begin(self) -> str:
        """The comment before it."""
        return f"<!-- measured: {self.name} -->"

    def on(self, page: str) -> str:
        """A page with this table between the two comments; the same where they are not."""
        if self.begin not in page or not self.measured.is_file():
            return page
        before, rest = page.split(self.begin)
        _, after = rest.split(END, 1)
        table = self.write(json.loads(self.measured.read_text()))
        return f"{before}{self.begin}\n{table}\n{END}{after}"


BLOCKS = (
    Block(
        "embedded model",
        ROOT / "results/embedded-model.json",
        table,
        (ROOT / "README.md", ROOT / "src/kosmos2/assets/demo/README.md"),
    ),
    Block(
        "embedded goals",
        ROOT / "results/embedded-model.json",
        goals,
        (ROOT / "docs/training.md",),
    ),
    Block(
        "retelling",
        ROOT / "results/retelling.json",
        retelling,
        (ROOT / "docs/performance.md",),
    ),
    Block(
        "speed",
        ROOT / "results/bench.json",
        speed,
        (ROOT / "README.md", ROOT / "docs/performance.md"),
    ),
    *(
        Block(
            f"serving {write.__name__}",
            ROOT / f"results/serving-{write.__name__}.json",
            write,
            (ROOT / "docs/serve.md",),
        )
        for write in (load, over, cost, soak, hostile)
    ),
    Block(
        "training without AVX-512",
        ROOT / "results/training-avx2.json",
        training,
        (ROOT / "docs/training.md",),
    ),
    *(
        Block(
            write.__name__.replace("_", " "),
            ROOT / f"results/{write.__name__.replace('_', '-')}.json",
            write,
            (ROOT / "docs/training.md",),
        )
        for write in (training, lora_memory, finetune, train_resume)
    ),
)


def main() -> int:
    """Write, or with --check compare."""
    stale = 0
    for block in BLOCKS:
        for page in block.pages:
            text = page.read_text()
            if block.on(text) == text:
                continue
            stale += 1
            if "--check" in sys.argv[1:]:
                print(f"{page.relative_to(ROOT)} is not what {block.measured.name} says")
            else:
                page.write_text(block.on(text))
    return int("--check" in sys.argv[1:] and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
