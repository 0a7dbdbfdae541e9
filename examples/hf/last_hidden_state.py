"""What the network makes of a picture and a text before any word is chosen.

python examples/hf/last_hidden_state.py [picture] [model]
"""

import argparse
from importlib.resources import files

import torch
from PIL import Image

from kosmos2.hf import AutoProcessor, Kosmos2Model

arguments = argparse.ArgumentParser(description="The vectors after the last layer.")
arguments.add_argument(
    "picture", nargs="?", default=files("kosmos2") / "assets/examples/snowman.jpg"
)
arguments.add_argument("model", nargs="?", default="demo")
given = arguments.parse_args()

model = Kosmos2Model.from_pretrained(given.model)
processor = AutoProcessor.from_pretrained(given.model)

text = (
    "<grounding> An image of<phrase> a snowman</phrase>"
    "<object><patch_index_0036><patch_index_0461></object> and<phrase> a fire</phrase>"
    "<object><patch_index_0014><patch_index_0374></object>"
)
inputs = processor(
    text=text, images=Image.open(given.picture), return_tensors="pt", add_eos_token=True
)
with torch.no_grad():
    outputs = model(**inputs, output_hidden_states=True, output_attentions=True)

print("last_hidden_state", list(outputs.last_hidden_state.shape))  # batch, tokens, width
print("image_embeds", list(outputs.image_embeds.shape))  # batch, latents, width
print("hidden_states", len(outputs.hidden_states))  # before the first layer and after each
print("attentions", list(outputs.attentions[0].shape))  # batch, heads, tokens, tokens
print("projection_attentions", list(outputs.projection_attentions.shape))
print("vision", list(outputs.vision_model_output.last_hidden_state.shape))
