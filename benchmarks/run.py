"""How fast is it? Every figure is a ratio, measured side by side with the reference.

    make bench                                   all of it, 25 minutes; writes results/bench.json
    make bench ARGS=--quick                      less of everything, 5 minutes
    python benchmarks/run.py --case decode_b1 --peers transformers,kosmos2-int8
    python benchmarks/run.py --case modes --out results/bench.json     an extra pass, see below

Each peer has a process of its own that loads its model once; they take turns, one works while the
others wait. Needs about 22 GiB for all peers at once, or 9 with one of those in float32. A run of
single cases writes a file only if --out names one, and then replaces these cases in it. `modes`,
the reference with a static cache and compiled, is not part of the rest: compiling takes minutes.
OpenVINO is compared where it is installed (`pip install 'kosmos2[bench]'`); a checkpoint is then
converted once, in 2 minutes and 11 GiB, before anything else is loaded.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cold
import peer_openvino
from cases import CASES, MACHINE, QUICK, Bench, Plan
from process import Process, Skipped
from workload import World

REFERENCE = "transformers"
PEERS = (REFERENCE, "kosmos2-fp32", "kosmos2-int8", "kosmos2-int4", "openvino-int8")
QUANTISED = {"kosmos2-int8", "kosmos2-int4"}
WAYS = ("transformers-static", "transformers-compiled")
COLD = {
    "cold_embedded": "process start to first answer, the model in the package",
    "cold_full": "process start to first answer, full size",
}
CONVERSION = Path(__file__).with_name("openvino_conversion.py")
RESULTS = Path(__file__).resolve().parents[1] / "results"


class Run:
    """One call of this script."""

    def __init__(self, folder: Path, peers: list[str], plan: Plan, desk: Path) -> None:
        self.folder, self.peers, self.plan = folder, peers, plan
        self.log, self.desk = desk / "peers.log", desk
        self.saved: dict[str, Path] = {}  # quantised, by those that did it
        self.begun = time.monotonic()
        self.found: dict[str, Any] = {"peers": {}, "skipped": {}, "cases": {}}

    def tell(self, words: str) -> None:
        """What is going on, with the minutes and seconds since the start."""
        seconds = int(time.monotonic() - self.begun)
        print(f"{seconds // 60:02d}:{seconds % 60:02d} {words}", file=sys.stderr, flush=True)

    def start(self, stack: ExitStack, names: list[str], *, machine: bool = True) -> Bench:
        """Load these, one after the other; those that cannot be are noted."""
        processes = {}
        for name in names:
            try:
                process = stack.enter_context(Process(name, self.folder, log=self.log))
            except Skipped as reason:
                self.found["skipped"][name] = str(reason)
                self.tell(f"{name} is skipped: {reason}")
                continue
            processes[name] = process
            self.found["peers"][name] = process.facts
            self.tell(f"{name} is loaded, in {process.facts['load_s']:.1f} s")
        probe = None
        if machine:
            probe = stack.enter_context(Process(MACHINE, self.folder, log=self.log))
            self.found["machine"] = probe.facts
        return Bench(World.of(self.folder), self.plan, processes, probe, REFERENCE, self.tell)

    def convert(self) -> None:
        """What OpenVINO runs is made once, in a process of its own, before others take memory."""
        for peer in self.peers:
            library, _, way = peer.partition("-")
            if library != "openvino" or way not in peer_openvino.WAYS or peer_openvino.missing():
                continue  # the peer itself says so
            if not peer_openvino.is_converted(self.folder, way):
                self.tell(f"--- the conversion for {peer}: minutes, once for a checkpoint")
                command = [sys.executable, str(CONVERSION), str(self.folder), "--way", way]
                with self.log.open("ab") as log:
                    subprocess.run(command, check=False, stdout=log, stderr=log)

    def together(self, names: list[str], *, save: bool) -> None:
        """The cases that all peers take turns in, and the limits of the machine."""
        with ExitStack() as stack:
            bench = self.start(stack, self.peers)
            assert bench.machine is not None
            if save:
                self.save(bench)
            before = self.limits(bench.machine)
            for name in names:
                bench.make_room(name)
                self.tell(f"--- {name}")
                case, begun = CASES[name], time.monotonic()
                found = case.run(bench) | {"took_s": round(time.monotonic() - begun)}
                self.found["cases"][name] = {"title": case.title, **found}
            after = self.limits(bench.machine)
        self.found["machine"] |= {key: max(before[key], after[key]) for key in before}

    def save(self, bench: Bench) -> None:
        """Quantised weights, for processes that start with them."""
        for name in set(bench.processes) & QUANTISED:
            try:
                bench.processes[name].ask("save", folder=str(self.desk / name))
                self.saved[name] = self.desk / name
            except Skipped as reason:
                self.tell(f"{name} could not be saved, it will start from the float file: {reason}")

    def limits(self, machine: Process) -> dict[str, float]:
        """What the machine can do at most."""
        found = machine.ask("read") | machine.ask("multiply")
        self.tell(", ".join(f"{key} {value:.4g}" for key, value in found.items()))
        return found

    def last_words(self) -> str:
        """What the peers complained about."""
        said = self.log.read_text(errors="replace") if self.log.is_file() else ""
        return said[-3000:]

    def modes(self) -> None:
        """The reference's other ways, one at a time beside it: together they take too much."""
        case = CASES["modes"]
        merged: dict[str, Any] = {"title": case.title, "rounds": 2, "peers": {}, "skipped": {}}
        for way in WAYS:
            self.tell(f"--- modes: {way}")
            with ExitStack() as stack:
                bench = self.start(stack, [REFERENCE, way], machine=False)
                if way in bench.processes:
                    found = case.run(bench)
                    merged["peers"] |= found["peers"]
                    merged["skipped"] |= found["skipped"]
        merged["skipped"] |= {way: why for way, why in self.found["skipped"].items() if way in WAYS}
        self.found["cases"]["modes"] = merged

    def cold(self, name: str) -> None:
        """Processes that live for one answer."""
        self.tell(f"--- {name}")
        bench = Bench(World.of(self.folder), self.plan, {}, None, REFERENCE, self.tell)
        if name == "cold_embedded":
            found = cold.embedded(bench, REFERENCE, self.plan.cold_rounds)
        else:
            for peer in [peer for peer in self.peers if peer in QUANTISED - set(self.saved)]:
                with ExitStack() as stack:
                    self.save(self.start(stack, [peer], machine=False))
            for peer in [peer for peer in self.peers if peer.startswith("openvino-")]:
                for graph in peer_openvino.graphs(self.folder, peer.partition("-")[2]):
                    cold._warm(graph)  # the others' files are warmed there
            folders = {peer: self.saved.get(peer, self.folder) for peer in self.peers}
            found = cold.full(bench, folders, self.log, REFERENCE, self.plan.cold_full_rounds)
        self.found["cases"][name] = {"title": COLD[name], **found}


def main() -> int:
    """Measure, say, write."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = (*CASES, *COLD)
    reader.add_argument("--case", help=f"some of: {','.join(known)}")
    reader.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    reader.add_argument("--quick", action="store_true", help="less of everything")
    reader.add_argument("--checkpoint", type=Path, help="a folder; made if it is not there")
    reader.add_argument("--out", type=Path, help="where the JSON goes")
    wishes = reader.parse_args()
    left_out = {"modes", *(("follow", "decode_b16") if wishes.quick else ())}
    names = wishes.case.split(",") if wishes.case else [n for n in known if n not in left_out]
    for name in names:
        if name not in known:
            reader.error(f"there is no case {name!r}; there are {', '.join(known)}")
    out = wishes.out
    if out is None and not wishes.case and wishes.peers == ",".join(PEERS):
        out = RESULTS / ("bench-quick.json" if wishes.quick else "bench.json")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="kosmos2-bench-") as desk:
        run = Run(_folder(wishes.checkpoint), wishes.peers.split(","), _plan(wishes), Path(desk))
        try:
            run.convert()
            if some := [name for name in names if name in CASES and not CASES[name].modes]:
                run.together(some, save="cold_full" in names)
            for name in names:
                if name in COLD:
                    run.cold(name)
            if "modes" in names:
                run.modes()
        except KeyboardInterrupt:
            print("stopped; nothing was written", file=sys.stderr)
            return 130
        except Exception:
            print(run.last_words(), file=sys.stderr)
            raise
        if run.found["skipped"] or any(c["skipped"] for c in run.found["cases"].values()):
            print(run.last_words(), file=sys.stderr)
    run.found |= {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": wishes.quick,
        "reference": REFERENCE,
        "seconds": round(time.monotonic() - run.begun),
    }
    if out is not None:
        _write(out, run.found, whole=not wishes.case)
    print(table(run.found))
    return 0


def table(found: dict[str, Any]) -> str:
    """What was measured, a line for each figure."""
    lines = []
    for name, case in found["cases"].items():
        for peer, figures in case["peers"].items():
            for what, figure in figures.items():
                better = figure.get("better")
                times = "" if better is None else f"  {better['median']:6.2f} x"
                lines.append(f"{name:14} {peer:22} {what:20} {figure['median']:12.5g}{times}")
        lines += [f"{name:14} {peer:22} skipped: {why}" for peer, why in case["skipped"].items()]
    lines += [f"{peer} is skipped: {why}" for peer, why in found["skipped"].items()]
    return "\n".join(lines)


def _plan(wishes: argparse.Namespace) -> Plan:
    return QUICK if wishes.quick else Plan()


def _folder(wish: Path | None) -> Path:
    """The checkpoint; a process of its own makes it, so that this one stays small."""
    if wish is not None and (wish / "config.json").is_file():
        return wish
    script = Path(__file__).with_name("checkpoint.py")
    command = [sys.executable, str(script), *([] if wish is None else [str(wish)])]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Path(said.strip())


def _write(out: Path, found: dict[str, Any], *, whole: bool) -> None:
    """All of it, or its cases in place of those in the file."""
    if not whole and out.is_file():
        old = json.loads(out.read_text())
        found = old | {
            "cases": old["cases"] | found["cases"],
            "peers": old["peers"] | found["peers"],
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
