"""Draw the boxes of an answer on the picture, with the model card's own function name.

python examples/hf/draw.py [picture] [model] [--save boxes.png]
"""

import argparse
from importlib.resources import files

from PIL import Image

from kosmos2.hf import AutoModelForVision2Seq, AutoProcessor, draw_entity_boxes_on_image

arguments = argparse.ArgumentParser(description="Draw the boxes of an answer on the picture.")
arguments.add_argument(
    "picture", nargs="?", default=files("kosmos2") / "assets/examples/snowman.jpg"
)
arguments.add_argument("model", nargs="?", default="demo")
arguments.add_argument("--save", default="boxes.png")
given = arguments.parse_args()

model = AutoModelForVision2Seq.from_pretrained(given.model)
processor = AutoProcessor.from_pretrained(given.model)
image = Image.open(given.picture)

prompt = "<grounding> Describe this image in detail:"
inputs = processor(text=prompt, images=image, return_tensors="pt")
generated_ids = model.generate(**inputs, max_new_tokens=128)
generated_text = processor.batch_decode(generated_ids, skip_special_tokens=True)[0]
text, entities = processor.post_process_generation(generated_text)

# The array has blue first, as OpenCV keeps pictures; show=True opens a viewer.
array = draw_entity_boxes_on_image(image, entities, show=False, save_path=given.save)
print(text)
print(f"{given.save}: {len(entities)} phrases on {array.shape[1]} x {array.shape[0]} pixels")
