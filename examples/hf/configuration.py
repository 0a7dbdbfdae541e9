"""A network of one's own sizes with random numbers in it, saved and read back.

    python examples/hf/configuration.py

`Kosmos2Config()` alone is the released model: 1.66 billion numbers, 6.7 GB.
"""

from tempfile import TemporaryDirectory

import torch

from kosmos2.hf import Kosmos2Config, Kosmos2ForConditionalGeneration

released = Kosmos2Config()
print(released.text_config.embed_dim, released.vision_config.hidden_size)

configuration = Kosmos2Config(
    text_config={"embed_dim": 64, "layers": 2, "attention_heads": 4, "ffn_dim": 128},
    vision_config={
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "image_size": 56,
    },
    latent_query_num=16,
)
torch.manual_seed(0)
model = Kosmos2ForConditionalGeneration(configuration)
print(f"{model.num_parameters():,} parameters")

with TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    again = Kosmos2ForConditionalGeneration.from_pretrained(folder)
kept = all(map(torch.equal, model.parameters(), again.parameters()))
print("read back:", kept and again.config.text_config.embed_dim == 64)
