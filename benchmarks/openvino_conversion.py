"""A checkpoint as OpenVINO runs it, converted once into a folder beside it.

    python benchmarks/openvino_conversion.py FOLDER [--way int8]

OpenVINO's own tools do it: `openvino.convert_model` traces this package's float32 modules into
three graphs, and NNCF makes them int8.

- sight: pixels to latents. NNCF's post-training quantisation, activations too, whose ranges it
  takes from random pictures that no case asks about.
- words: ids to rows of the embedding; weights in int8, a scale for each row.
- reader: rows to the scores of the next word; weights in int8, a scale for each output. Its keys
  and values are the graph's own state, which OpenVINO keeps inside its attention.

`--way fp32` converts without rounding anything: it shows that the graphs are right.
Shapes: B answers, T new tokens, P tokens remembered, H heads, W head width, D text width.
"""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peer_openvino import (
    NOTE,
    WAYS,
    converted_folder,
    is_converted,
    source_of,
    without_telemetry,
)
from torch import Tensor, nn
from workload import World

from kosmos2.config import TextConfig
from kosmos2.model import Cache, Network
from kosmos2.model.decoder import Decoder, sinusoids
from kosmos2.weights.load import load_network

without_telemetry()

import nncf  # noqa: E402
import openvino as ov  # noqa: E402
from openvino import opset15 as ops  # noqa: E402
from openvino._offline_transformations import apply_make_stateful_transformation  # noqa: E402

PICTURES = range(10_000, 10_016)  # seeds of those that ranges are taken from
SAID = {
    "int8": "openvino.convert_model, then NNCF: quantize for the tower and the connector (ranges "
    f"of {len(PICTURES)} random pictures), compress_weights to INT8_ASYM for words and decoder",
    "fp32": "openvino.convert_model, nothing rounded",
}


class Sight(nn.Module):
    """Pixels to latents."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network.look(pixels)


class Reader(nn.Module):
    """Rows of the embedding, and what was read before, to the scores of the next word."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, embedded: Tensor, places: Tensor, mask: Tensor, rows: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """B T D, B T D, B 1 T P+T, and which row each row goes on from; a key, a value, a key..."""
        cache = Cache()
        cache.keys = [keys.index_select(0, rows) for keys in past[0::2]]
        cache.values = [values.index_select(0, rows) for values in past[1::2]]
        x = embedded * self.decoder.config.embedding_scale + places
        for layer in self.decoder.layers:
            x = layer(x, mask, False, cache)
        scores = self.decoder.logits(self.decoder.last_norm(x[:, -1:]))
        return scores, [each for pair in zip(cache.keys, cache.values) for each in pair]


def convert(folder: Path, way: str) -> Path:
    """Write the graphs of one way, unless they are there already."""
    target = converted_folder(folder, way)
    if is_converted(folder, way):
        return target
    note = target / NOTE
    target.mkdir(exist_ok=True)
    note.unlink(missing_ok=True)
    network = load_network(folder, dtype=torch.float32).eval().requires_grad_(False)
    _save(_sight(network, World.of(folder), way), target / "sight.xml")
    _save(_words(network.decoder, way), target / "words.xml")
    _save(_reader(network.decoder, way), target / "reader.xml")
    text = network.config.text
    places = sinusoids(torch.arange(text.pad + 1 + text.positions), text)
    np.save(target / "places.npy", places.numpy())
    said = {
        "source": source_of(folder),
        "conversion": SAID[way],
        "first_place": text.pad + 1,
        "nncf": nncf.__version__,
        "openvino": ov.__version__,
    }
    note.write_text(json.dumps(said))  # last: half a folder is made again
    return target


@torch.no_grad()
def _sight(network: Network, world: World, way: str) -> ov.Model:
    side = network.config.vision.image_size
    pixels = torch.zeros(1, 3, side, side)
    model = ov.convert_model(Sight(network), example_input=pixels, input=[tuple(pixels.shape)])
    if way == "fp32":
        return model
    pictures = nncf.Dataset([world.pixels(seed)[None] for seed in PICTURES])
    return nncf.quantize(
        model, pictures, subset_size=len(PICTURES), model_type=nncf.ModelType.TRANSFORMER
    )


@torch.no_grad()
def _words(decoder: Decoder, way: str) -> ov.Model:
    ids = torch.zeros(1, 1, dtype=torch.long)
    model = ov.convert_model(decoder.words, example_input=ids, input=[ov.PartialShape([-1, -1])])
    return _compressed(model, way)


@torch.no_grad()
def _reader(decoder: Decoder, way: str) -> ov.Model:
    text = decoder.config
    rows, new, old = 2, 3, 5  # any: they only have to differ
    seen = torch.zeros(rows, text.heads, old, text.width // text.heads)
    example = (
        torch.zeros(rows, new, text.width),
        torch.zeros(rows, new, text.width),
        torch.zeros(rows, 1, new, old + new),
        torch.arange(rows, dtype=torch.int32),  # OpenVINO finds its cache by this type
        [seen] * (2 * text.layers),
    )
    model = ov.convert_model(Reader(decoder), example_input=example)
    shapes: dict[str, list[int]] = {
        "embedded": [-1, -1, text.width],
        "places": [-1, -1, text.width],
        "mask": [-1, 1, -1, -1],
        "rows": [-1],
    }
    pasts = {f"past.{n}": f"present.{n}" for n in range(2 * text.layers)}
    shapes |= {name: [-1, text.heads, -1, text.width // text.heads] for name in pasts}
    _name(model.inputs, shapes)
    _name(model.outputs, ["scores", *pasts.values()])
    model.reshape({name: ov.PartialShape(shape) for name, shape in shapes.items()})
    apply_make_stateful_transformation(model, pasts)
    _begin_with_nothing(model, text)
    return _compressed(model, way)


def _name(ports: list[Any], names: Any) -> None:
    for port, name in zip(ports, names, strict=True):
        port.get_tensor().set_names({name})


def _begin_with_nothing(model: ov.Model, text: TextConfig) -> None:
    """A state that was reset has no tokens, and as many rows as are asked for."""
    none = ops.constant(np.array([text.heads, 0, text.width // text.heads], dtype=np.int64))
    shape = ops.concat([ops.shape_of(model.input("rows"), output_type="i64"), none], axis=0)
    nothing = ops.broadcast(ops.constant(np.float32(0)), shape)
    for operation in model.get_ops():
        if operation.get_type_name() == "ReadValue":
            operation.set_arguments([nothing])
    model.validate_nodes_and_infer_types()


def _compressed(model: ov.Model, way: str) -> ov.Model:
    if way == "fp32":
        return model
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)


def _save(model: ov.Model, file: Path) -> None:
    ov.save_model(model, file, compress_to_fp16=False)
    gc.collect()  # a graph and what it was traced from know each other


def main() -> None:
    """Say where it is."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("folder", type=Path)
    reader.add_argument("--way", choices=WAYS, default="int8")
    wishes = reader.parse_args()
    print(convert(wishes.folder, wishes.way))


if __name__ == "__main__":
    main()
