"""Training: from a recipe and data, read or drawn, to a folder that loads.

recipe      what is learnt from what, in which stages and how; `plan` is what that costs
begin       the network that a run starts from, and its words; `new_words` gives it some more
feed        what a stage learns from, as rows by position; `batches` are rows as tensors
learner     what a mistake costs, `cost` of each word; `dense` and `contrastive` are thrown away
optimiser, schedule, ema, again, cells, lora     how it is learnt
loop        steps in order, which goes on after any stop; `run_folder` and `state` see to that
parallel    the same by several processes
freed       the memory of one step, kept for the next
watching    what people see of it; `dry_run` shows it before
export      what is left at the end

Import the module you need.
"""
