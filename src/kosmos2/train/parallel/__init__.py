"""One run, one process or several: who takes which rows, and how gradients and files come together.

way          Parallel: what the loop asks of it, whatever it is
alone        Alone: one process
ranks        what several processes say to each other
ddp          Ddp: every process holds the whole network, and gradients are added up
fsdp         Fsdp: every process holds a slice of each parameter, and of its moments
launch       which of the three it is, from the recipe and from what `torchrun` sets
reading      a checkpoint as a process holds things, whoever wrote it
sharded      slices on disk, written by any number of processes and read by any other number
consolidate  what a run has learnt so far, in one process

A step costs the same however many processes take part: the sum over all its rows, divided by what
counts in all of them together, never a mean of means.
"""

from kosmos2.train.parallel.alone import Alone
from kosmos2.train.parallel.launch import launch
from kosmos2.train.parallel.way import Parallel

__all__ = ["Alone", "Parallel", "launch"]
