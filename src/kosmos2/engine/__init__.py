"""From logits to tokens: the plain specification of generation.

Four roles, each a small protocol, and the values that fill it:

    Decoder   `decoder.py`   ids in, logits out, remembering what it read   Cached
    Filter    `filters.py`   logits -> logits, what may not come next       NoRepeat, NotYet, Never
    Chooser   `choose.py`    logits -> one id                               Greedy, Sample
    Search    `beam.py`      ranks several answers to one prompt

`loop.py` puts the first three together, one token a step; `beam.py` uses the last. This room knows
ids, no words and no boxes. Whatever is faster later has to give what is given here.
"""

from kosmos2.engine.beam import beam_search
from kosmos2.engine.choose import Chooser, Greedy, Sample
from kosmos2.engine.decoder import Cached, Decoder, Inputs, Network
from kosmos2.engine.filters import Filter, Never, NoRepeat, NotYet
from kosmos2.engine.loop import generate
from kosmos2.engine.token import Completion, Finish, Token, collect

__all__ = [
    "Cached",
    "Chooser",
    "Completion",
    "Decoder",
    "Filter",
    "Finish",
    "Greedy",
    "Inputs",
    "Network",
    "Never",
    "NoRepeat",
    "NotYet",
    "Sample",
    "Token",
    "beam_search",
    "collect",
    "generate",
]
