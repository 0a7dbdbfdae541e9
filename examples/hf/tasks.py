"""The seven tasks that the model knows, each asked in the words it was trained with.

python examples/hf/tasks.py [picture] [model]
"""

import argparse
from importlib.resources import files

from PIL import Image

from kosmos2.hf import AutoModelForVision2Seq, AutoProcessor

SNOWMAN = "<object><patch_index_0036><patch_index_0461></object>"  # where it is on the example
TASKS = {
    "find a phrase": "<grounding><phrase> a snowman</phrase>",
    "find what is meant": "<grounding><phrase> the fire to the right of the snowman</phrase>",
    "say what is in a box": f"<grounding><phrase> It</phrase>{SNOWMAN} is",
    "answer a question": "<grounding> Question: What is below the snowman? Answer:",
    "answer a question about a box": (
        f"<grounding> Question: What is<phrase> this</phrase>{SNOWMAN}? Answer:"
    ),
    "tell in a few words": "<grounding> An image of",
    "tell in detail": "<grounding> Describe this image in detail:",
}

arguments = argparse.ArgumentParser(description="The seven tasks that the model knows.")
arguments.add_argument(
    "picture", nargs="?", default=files("kosmos2") / "assets/examples/snowman.jpg"
)
arguments.add_argument("model", nargs="?", default="demo")
given = arguments.parse_args()

model = AutoModelForVision2Seq.from_pretrained(given.model)
processor = AutoProcessor.from_pretrained(given.model)
image = Image.open(given.picture)

for task, prompt in TASKS.items():
    inputs = processor(text=prompt, images=image, return_tensors="pt")
    generated_ids = model.generate(**inputs, max_new_tokens=128)
    generated_text = processor.batch_decode(generated_ids, skip_special_tokens=True)[0]
    text, entities = processor.post_process_generation(generated_text)
    print(f"# {task}")
    print(text)
    print(entities)
    print(processor.post_process_generation(generated_text, cleanup_and_extract=False))
