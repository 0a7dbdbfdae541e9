"""Where answers are made: an engine in this process, or one in a process of its own.

The second is what `kosmos2 serve` has on a CPU. Python runs one thread at a time, and an engine in
the process of the event loop waits for it hundreds of times a step: with the embedded model and
eight streams a quarter of its speed went that way (`docs/serve.md`).
"""

from kosmos2.serve.engines.apart import Apart, can_be_apart, threads_for
from kosmos2.serve.engines.inside import Inside
from kosmos2.serve.engines.making import Making, slots_of

__all__ = [
    "Apart",
    "Inside",
    "Making",
    "can_be_apart",
    "slots_of",
    "threads_for",
]
