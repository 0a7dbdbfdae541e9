"""The other runtime for this processor: OpenVINO on its own int8 conversion of the same weights.

How they were converted stands in openvino_conversion.py, and in the facts of this peer. It runs on
the CPU in the precision and with the threads that OpenVINO chooses itself: keys and values in 8
bits, and, where the processor multiplies in bfloat16, what is not int8 in that. One setting is not
its own choice but the best of those tried: how many activations share a scale. One answer at a
time, as in OpenVINO's tutorial of this model: the picture, the prompt, then a token a call; what
was read stays inside the graph.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from peer import Unable
from workload import EOS, PAD, Ask, World

WAYS = ("int8", "fp32")
SETTINGS: dict[str, dict[str, Any]] = {
    "int8": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 128},  # its own 32 reads a prompt 1.3 times as long
    "fp32": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"},
}
TOLD = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
NOTE = "converted_from.json"
ALONE = "one answer at a time is all that is compared with openvino"


def converted_folder(folder: Path, way: str) -> Path:
    """Where the graphs of a checkpoint are."""
    return folder.with_name(f"{folder.name}-openvino-{way}")


def graphs(folder: Path, way: str) -> list[Path]:
    """The files that its weights are in."""
    return sorted(converted_folder(folder, way).glob("*.bin"))


def is_converted(folder: Path, way: str) -> bool:
    """Whether they are there, and of this very checkpoint."""
    note = converted_folder(folder, way) / NOTE
    return note.is_file() and json.loads(note.read_text())["source"] == source_of(folder)


def source_of(folder: Path) -> dict[str, list[int]]:
    """What tells a checkpoint from another in the same place: its files' sizes and times."""
    files = {file.name: file.stat() for file in sorted(folder.glob("*.safetensors"))}
    return {name: [file.st_size, file.st_mtime_ns] for name, file in files.items()}


def missing() -> list[str]:
    """What has to be installed before a checkpoint can be converted."""
    return [name for name in ("openvino", "nncf") if find_spec(name) is None]


def without_telemetry() -> None:
    """Nobody is told that this runs: both libraries do without what would tell."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


class Peer:
    """Three graphs, compiled."""

    def __init__(self, folder: str, world: World, way: str) -> None:
        if way not in WAYS:
            raise Unable(f"there is no way {way!r} to run openvino")
        if missing():
            raise Unable(f"no {' and no '.join(missing())} here: pip install 'kosmos2[bench]'")
        if not is_converted(Path(folder), way):
            raise Unable(
                f"not converted: python benchmarks/openvino_conversion.py {folder} --way {way}"
            )
        without_telemetry()
        import openvino

        self.world, self.version = world, openvino.__version__
        self.folder = converted_folder(Path(folder), way)
        self.note = json.loads((self.folder / NOTE).read_text())
        core = openvino.Core()
        self.sight, self.words, self.reader = (
            core.compile_model(self.folder / f"{name}.xml", "CPU", SETTINGS[way])
            for name in ("sight", "words", "reader")
        )
        self._sight = self.sight.create_infer_request()
        self._words = self.words.create_infer_request()
        self._reader = self.reader.create_infer_request()
        self._places = np.load(self.folder / "places.npy")
        self._seen: dict[int, np.ndarray] = {}

    def facts(self) -> dict[str, Any]:
        """What is run, how it was converted, and the bytes that every token has to read."""
        return {
            "versions": {"openvino": self.version, "nncf": self.note["nncf"]},
            "threads": self.reader.get_property("INFERENCE_NUM_THREADS"),
            "one_at_a_time": True,
            "step_bytes": (self.folder / "reader.bin").stat().st_size,
            "conversion": self.note["conversion"],
            "settings": {name: str(self.reader.get_property(name)) for name in TOLD},
        }

    def first(self, asks: list[Ask]) -> dict[str, Any]:
        """From pixels to the first token of one ask."""
        ask = _only(asks)
        pixels = self._pixels(ask)
        begun = time.perf_counter()
        token = next(self._tokens(ask, self._look(pixels)))
        return {"seconds": time.perf_counter() - begun, "tokens": [[token]]}

    def decode(self, asks: list[Ask]) -> dict[str, Any]:
        """The seconds between tokens, once the prompt is read; one picture, seen before."""
        ask = _only(asks)
        if ask.picture not in self._seen:
            self._seen[ask.picture] = self._look(self._pixels(ask))
        times, tokens = [], []
        for token in self._tokens(ask, self._seen[ask.picture]):
            times.append(time.perf_counter())
            tokens.append(token)
        return {"steps": [after - before for before, after in pairwise(times)], "tokens": [tokens]}

    def captions(self, asks: list[Ask], batch: int) -> dict[str, Any]:
        """One, as a new process is asked for it."""
        ask = _only(asks)
        pixels = self._pixels(ask)
        begun = time.perf_counter()
        tokens = list(self._tokens(ask, self._look(pixels)))
        return {"seconds": time.perf_counter() - begun, "tokens": [tokens]}

    def follow(self, asks: list[Ask], tokens: list[list[int]]) -> dict[str, Any]:
        """Read another's answers, and say at each token whether it would have been ours."""
        same = []
        for ask, answer in zip(asks, tokens, strict=True):
            ours = self._tokens(ask, self._look(self._pixels(ask)), answer)
            same += [one == other for one, other in zip(ours, answer, strict=True)]
        return {"same": sum(same) / len(same)}

    def phrases(self, asks: list[Ask]) -> dict[str, Any]:
        """Not compared."""
        raise Unable(ALONE)

    def arrivals(self, asks: list[Ask], at: list[float]) -> dict[str, Any]:
        """Not compared."""
        raise Unable(ALONE)

    def _pixels(self, ask: Ask) -> np.ndarray:
        return self.world.pixels(ask.picture)[None]

    def _look(self, pixels: np.ndarray) -> np.ndarray:
        found = self._sight.infer([pixels], share_inputs=True, share_outputs=True)
        return np.array(found[0][0])

    def _tokens(
        self, ask: Ask, latents: np.ndarray, instead: Sequence[int] | None = None
    ) -> Iterator[int]:
        """Each best next token; the answer goes on with it, or with what is given instead."""
        self._reader.reset_state()
        ids = self.world.ids(ask)
        embedded = np.array(self._embed(ids))
        embedded[0, np.array(self.world.slots(ask), dtype=bool)] = latents
        scores, read = self._read(embedded, 0), len(ids)
        for number in range(ask.new):
            scores[[EOS, PAD]] = -np.inf  # nobody may stop early
            token = int(scores.argmax())
            yield token
            if number + 1 < ask.new:
                token = token if instead is None else instead[number]
                scores, read = self._read(self._embed([token]), read), read + 1

    def _embed(self, ids: list[int]) -> np.ndarray:
        return self._words.infer([np.array([ids])], share_inputs=True, share_outputs=True)[0]

    def _read(self, embedded: np.ndarray, read: int) -> np.ndarray:
        """Scores of the word after these, which come after as many as were read."""
        new = embedded.shape[1]
        place = self.note["first_place"] + read
        ahead = np.triu(np.ones((new, read + new), dtype=bool), read + 1)
        words = {
            "embedded": embedded,
            "places": self._places[None, place : place + new],
            "mask": np.where(ahead, np.finfo(np.float32).min, np.float32(0))[None, None],
            "rows": np.zeros(1, dtype=np.int32),
        }
        found = self._reader.infer(words, share_inputs=True, share_outputs=True)
        return np.array(found["scores"][0, -1])


def _only(asks: list[Ask]) -> Ask:
    """The one ask there is.

    Raises:
        Unable: there are more.
    """
    if len(asks) > 1:
        raise Unable(ALONE)
    return asks[0]
