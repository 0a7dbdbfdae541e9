"""LoRA: thin matrices that learn beside the network's large ones, which stay (Hu et al. 2021).

settings   what learns, and beside what
attaching  the thin matrices go into a network and out of it, or into its weights and out of them
files      adapters on disk, in the layout of the `peft` library
layers     what peft is told about whole-number weights (the only file that needs it to be read)
"""

from kosmos2.train.lora.attaching import attach, detach, merge, unmerge
from kosmos2.train.lora.files import adapter_of, load_adapter, save_adapter
from kosmos2.train.lora.settings import Lora

__all__ = [
    "Lora",
    "adapter_of",
    "attach",
    "detach",
    "load_adapter",
    "merge",
    "save_adapter",
    "unmerge",
]
