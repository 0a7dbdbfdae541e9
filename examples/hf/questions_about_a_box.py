"""Ask about a place in the picture, with the weights in four bits and the place as fractions.

    python examples/hf/questions_about_a_box.py [picture] [model]

Written for a GPU, as tutorials are: without one it runs on the CPU, and a warning says so. The
picture with the boxes goes to asked.png.
"""

import argparse
from importlib.resources import files

from PIL import Image, ImageDraw

from kosmos2.hf import AutoModelForVision2Seq, AutoProcessor

arguments = argparse.ArgumentParser(description="Ask about a place in the picture.")
arguments.add_argument(
    "picture", nargs="?", default=files("kosmos2") / "assets/examples/snowman.jpg"
)
arguments.add_argument("model", nargs="?", default="demo")
given = arguments.parse_args()

processor = AutoProcessor.from_pretrained(given.model)
model = AutoModelForVision2Seq.from_pretrained(given.model, load_in_4bit=True, device_map={"": 0})
image = Image.open(given.picture)

# One box for each <phrase> of the prompt: left, top, right, bottom in fractions of the picture.
prompt = "<grounding> Question: What is<phrase> this</phrase>? Answer:"
box = (0.061, 0.063, 0.45, 0.57)
inputs = processor(text=prompt, images=image, bboxes=[box], return_tensors="pt").to("cuda:0")

generated_ids = model.generate(**inputs, max_new_tokens=128)
generated_text = processor.batch_decode(generated_ids, skip_special_tokens=True)[0]
print(generated_text.split(processor.eoi_token)[-1])
text, entities = processor.post_process_generation(generated_text)
print(text)
print(entities)

# Boxes are fractions, so they fit the picture at any size.
width, height = image.size
pencil = ImageDraw.Draw(image)
for phrase, _, boxes in entities:
    for x1, y1, x2, y2 in boxes:
        pencil.rectangle((x1 * width, y1 * height, x2 * width, y2 * height), outline="red")
        pencil.text((x1 * width, y1 * height), phrase)
image.save("asked.png")
