"""From logits to tokens: the plain specification of generation, and the engine that equals it.

Six roles, each a small protocol, and the values that fill it:

    Decoder   `decoder.py`   ids in, logits out, remembering what it read   Cached
    Filter    `filters.py`   logits -> logits, what may not come next       NoRepeat, NotYet, Never,
                                                                            Grammar
    Forcing   `job.py`       a filter that says beforehand what must come   Grammar
    Narrowing `filters.py`   a filter that says where alone it may come     Grammar
    Chooser   `choose.py`    logits -> one id                               Greedy, Sample
    Search    `beam.py`      ranks several answers to one prompt

`loop.py` puts filter, chooser and decoder together, one token a step: that is what generation means
here. `beam.py` uses the search. `worker.py` is the engine, which gives what the loop gives, to many
requests at once: a `Request` goes in, a `Ticket` comes out. This room knows ids, no words and no
boxes.
"""

from kosmos2.engine.beam import beam_search
from kosmos2.engine.choose import Chooser, Greedy, Sample
from kosmos2.engine.corners import After, Corners, read_beginning, read_corners
from kosmos2.engine.decoder import Cached, Decoder, Inputs, Network
from kosmos2.engine.filters import Filter, Narrowing, Never, NoRepeat, NotYet
from kosmos2.engine.grammar import Grammar, Tags
from kosmos2.engine.job import Forcing
from kosmos2.engine.loop import generate
from kosmos2.engine.request import Request, requests_of
from kosmos2.engine.statistics import Statistics
from kosmos2.engine.ticket import Cancelled, Late, Ticket
from kosmos2.engine.token import Completion, Finish, Token, collect
from kosmos2.engine.worker import Engine

__all__ = [
    "After",
    "Cached",
    "Cancelled",
    "Chooser",
    "Completion",
    "Corners",
    "Decoder",
    "Engine",
    "Filter",
    "Finish",
    "Forcing",
    "Grammar",
    "Greedy",
    "Inputs",
    "Late",
    "Narrowing",
    "Network",
    "Never",
    "NoRepeat",
    "NotYet",
    "Request",
    "Sample",
    "Statistics",
    "Tags",
    "Ticket",
    "Token",
    "beam_search",
    "collect",
    "generate",
    "read_beginning",
    "read_corners",
    "requests_of",
]
