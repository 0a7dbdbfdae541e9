"""Is our `/openapi.json` true? schemathesis makes requests from it and looks at every reply.

    python benchmarks/serving_conformance.py [--examples 200] [--seed 1] [--out conformance.json]

Starts a server on the embedded model with a key file, and sends to each operation its edge cases
and so many examples, valid and invalid ones. No reply may be a 5xx; each has a status, a content
type, headers and a body that the description names; what is invalid is refused, what is valid is
refused for its meaning only, and nothing is answered without a key. Prints JSON; ends with 1 if
anything was untrue.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from kosmos2.serve.keys import line_for, new_key
from serving import serving

# Replaced by `valid_is_understood`: which pictures and boxes make sense, no schema can say.
LEFT_OUT = "positive_data_acceptance"
HOOKS = Path(__file__).with_name("serving_conformance_hooks.py")
LAST_LINES = 200


def conformance(
    url: str,
    key: str,
    *,
    examples: int,
    seed: int = 1,
    phases: str = "coverage,fuzzing",
    only: str = ".",
    log: Path | None = None,
) -> dict[str, Any]:
    """What schemathesis found at a server."""
    with tempfile.TemporaryDirectory() as name:
        desk = Path(name)
        report = desk / "report.json"
        begun = time.monotonic()
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
                *("--header", f"Authorization: Bearer {key}", "--no-color"),
                *("--include-path-regex", only),
                *("--phases", phases, "--checks", "all", "--exclude-checks", LEFT_OUT),
                *("--max-examples", str(examples), "--seed", str(seed)),
                *("--generation-database", "none"),
                *("--generation-with-security-parameters", "false"),
                *("--continue-on-failure", "--report-json-path", str(report)),
            ],
            cwd=desk,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if log is not None:
            log.write_text(run.stdout, encoding="utf-8")
        if not report.is_file():
            raise RuntimeError(f"schemathesis ended with {run.returncode}:\n{run.stdout}")
        told = json.loads(report.read_text(encoding="utf-8"))
    held = told["exit_code"] == 0 and told["complete"]
    rates = told["valid_rates"].values()
    return {
        "schemathesis": told["schemathesis_version"],
        "seed": told["seed"],
        "examples": examples,
        "operations": told["operations"]["tested"],
        "requests": told["test_cases"]["generated"],
        "accepted": sum(phase["accepted"] for rate in rates for phase in rate.values()),
        "seconds": round(time.monotonic() - begun, 1),
        "failures": [
            {name: one[name] for name in ("title", "count", "operations")}
            for one in told["failures"]
        ],
        "errors": len(told["errors"]),
        "true": held,
        "said": [] if held else run.stdout.splitlines()[-LAST_LINES:],
    }


def main() -> int:
    """Ask, and say what came of it."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--examples", type=int, default=200, help="for each operation")
    reader.add_argument("--seed", type=int, default=1)
    reader.add_argument("--phases", default="coverage,fuzzing")
    reader.add_argument("--only", default=".", metavar="PATTERN", help="paths that contain it")
    reader.add_argument("--log", type=Path, help="where schemathesis' own words go")
    reader.add_argument("--out", type=Path)
    wishes = reader.parse_args()
    key = new_key()
    with tempfile.TemporaryDirectory() as name:
        keys = Path(name) / "keys.txt"
        keys.write_text(line_for("conformance", key) + "\n", encoding="utf-8")
        with serving("--api-key-file", str(keys)) as server:
            found = conformance(
                server.url,
                key,
                examples=wishes.examples,
                seed=wishes.seed,
                phases=wishes.phases,
                only=wishes.only,
                log=wishes.log,
            )
            found["same_process"] = server.process.poll() is None
    said = found.pop("said")
    text = json.dumps(found, indent=2)
    print(text)
    if said:
        print(*said, sep="\n", file=sys.stderr)
    if wishes.out:
        wishes.out.write_text(text + "\n", encoding="utf-8")
    return int(not (found["true"] and found["same_process"]))


if __name__ == "__main__":
    sys.exit(main())
