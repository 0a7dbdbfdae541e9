"""Say what is in a picture, and where: the reference library's first script, on this package.

    python examples/hf/caption.py [picture] [model]

Old code needs one changed line: `from transformers import` becomes `from kosmos2.hf import`.
"""

import argparse
from importlib.resources import files

from PIL import Image

from kosmos2.hf import AutoModelForVision2Seq, AutoProcessor

arguments = argparse.ArgumentParser(description="Say what is in a picture, and where.")
arguments.add_argument(
    "picture", nargs="?", default=files("kosmos2") / "assets/examples/snowman.jpg"
)
arguments.add_argument("model", nargs="?", default="demo")
given = arguments.parse_args()

model = AutoModelForVision2Seq.from_pretrained(given.model)
processor = AutoProcessor.from_pretrained(given.model)

image = Image.open(given.picture)
inputs = processor(text="<grounding>An image of", images=image, return_tensors="pt")
generated_ids = model.generate(
    pixel_values=inputs["pixel_values"],
    input_ids=inputs["input_ids"],
    attention_mask=inputs["attention_mask"],
    image_embeds=None,
    image_embeds_position_mask=inputs["image_embeds_position_mask"],
    use_cache=True,
    max_new_tokens=128,
)
generated_text = processor.batch_decode(generated_ids, skip_special_tokens=True)[0]

# What the model wrote, with the tags that tie phrases to places.
print(processor.post_process_generation(generated_text, cleanup_and_extract=False))

# The same as plain words, and the phrases with their boxes in fractions of the picture.
text, entities = processor.post_process_generation(generated_text)
print(text)
print(entities)
