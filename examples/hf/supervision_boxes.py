"""Answers as detections of the `supervision` library: filter, count and draw with its tools.

pip install "supervision>=0.31"
python examples/hf/supervision_boxes.py [picture] [model]

The picture with the detections goes to detections.png.
"""

import argparse
import sys
from importlib.resources import files

import numpy as np
from PIL import Image

from kosmos2.hf import AutoModelForVision2Seq, AutoProcessor

try:
    import supervision as sv
except ModuleNotFoundError:
    sys.exit('this example needs another library: pip install "supervision>=0.31"')

arguments = argparse.ArgumentParser(description="Answers as detections of `supervision`.")
arguments.add_argument(
    "picture", nargs="?", default=files("kosmos2") / "assets/examples/snowman.jpg"
)
arguments.add_argument("model", nargs="?", default="demo")
given = arguments.parse_args()

model = AutoModelForVision2Seq.from_pretrained(given.model)
processor = AutoProcessor.from_pretrained(given.model)
image = Image.open(given.picture).convert("RGB")

prompt = "<grounding> Describe this image in detail:"
inputs = processor(text=prompt, images=image, return_tensors="pt")
generated_ids = model.generate(**inputs, max_new_tokens=128)
generated_text = processor.batch_decode(generated_ids, skip_special_tokens=True)[0]
result = processor.post_process_generation(generated_text)

# The pair of text and entities as it is; one detection for each box, in pixels.
detections = sv.Detections.from_vlm(sv.VLM.KOSMOS_2, result, resolution_wh=image.size)
for name, box in zip(detections["class_name"], detections.xyxy, strict=True):
    print(name, box.round().astype(int).tolist())

scene = np.array(image)[:, :, ::-1].copy()  # supervision draws on pictures with blue first
scene = sv.BoxAnnotator().annotate(scene, detections)
scene = sv.LabelAnnotator().annotate(scene, detections)
Image.fromarray(scene[:, :, ::-1]).save("detections.png")
