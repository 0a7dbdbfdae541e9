"""What `kosmos2 caption PICTURE --json` does, written with the general-purpose library.

python benchmarks/caption_transformers.py FOLDER PICTURE
"""

import json
import sys

from PIL import Image
from transformers import Kosmos2ForConditionalGeneration, Kosmos2Processor

folder, picture = sys.argv[1:]
model = Kosmos2ForConditionalGeneration.from_pretrained(folder).eval()
processor = Kosmos2Processor.from_pretrained(folder)
inputs = processor(
    text="<grounding> An image of", images=Image.open(picture).convert("RGB"), return_tensors="pt"
)
answer = model.generate(**inputs, max_new_tokens=128, do_sample=False)
(said,) = processor.batch_decode(
    answer[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
)
text, entities = processor.post_process_generation(said)
print(json.dumps({"text": text, "entities": entities}))
