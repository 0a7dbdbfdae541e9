"""The network with its large matrices in few bits: `int8`, or `int4` where it costs little.

`numbers` turns weights and activations into small whole numbers and says what their product is;
`kernels` computes the same product fast; `int8` and `int4` are the layers, `network` puts them in
place of a network's own; `gradients` is the way back past them, for adapters. Sums of whole numbers
are exact, so an answer is the same whatever other rows it was computed with, and whatever kernel
computed it but for the last rounding.
"""

from kosmos2.model.quantised.frozen import FIXED, Packing
from kosmos2.model.quantised.int4 import Int4Linear
from kosmos2.model.quantised.int8 import Int8Linear, Int8Words
from kosmos2.model.quantised.kernels import as_in_files
from kosmos2.model.quantised.network import (
    KINDS,
    check_kind,
    check_passable,
    hollow,
    kind_of,
    let_pass,
    matrices,
    quantise,
    settle,
    tensors,
)

__all__ = [
    "FIXED",
    "KINDS",
    "Int4Linear",
    "Int8Linear",
    "Int8Words",
    "Packing",
    "as_in_files",
    "check_kind",
    "check_passable",
    "hollow",
    "kind_of",
    "let_pass",
    "matrices",
    "quantise",
    "settle",
    "tensors",
]
