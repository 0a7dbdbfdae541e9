"""What a recipe will cost, before it costs it.

figures   tokens, epochs, memory, operations and time, and the words they are told in
memory    what is held, and what is kept for the way back
working   all of it worked out
"""

from kosmos2.train.plan.figures import GPUS, Plan
from kosmos2.train.plan.working import plan

__all__ = ["GPUS", "Plan", "plan"]
