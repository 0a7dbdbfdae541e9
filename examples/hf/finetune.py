"""Teach the model ten pictures by heart: fine-tuning in thirty lines.

    python examples/hf/finetune.py [model]

The pictures are scenes drawn from numbers, so that the truth about them is known and nothing is
downloaded; the question is one that the embedded model was never asked. `training_batch` builds
`labels` that count the answer and its end only: -100 stands on prompt, picture and padding.
"""

import sys

import torch
from PIL import Image

from kosmos2.hf import AutoProcessor, Kosmos2ForConditionalGeneration
from kosmos2.markup import object_block
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose

name = sys.argv[1] if len(sys.argv) > 1 else "demo"
model = Kosmos2ForConditionalGeneration.from_pretrained(name, dtype=torch.float32)
processor = AutoProcessor.from_pretrained(name)

scenes = [compose(7, number) for number in range(10)]
images = [Image.fromarray(draw_scene(scene, 320)) for scene in scenes]
prompts = ["<grounding> Question: What is there? Answer:"] * len(scenes)
answers = [
    "".join(f"<phrase> {t.noun}</phrase>{object_block([t.box])}" for t in scene.things)
    for scene in scenes
]
batch = processor.training_batch(images, prompts, answers)

model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
for step in range(1, 61):
    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step:2}  loss {loss.item():.3f}", flush=True)
    if loss.item() < 0.05:
        break

model.eval()
inputs = processor(text=prompts[0], images=images[0], return_tensors="pt")
generated_text = processor.batch_decode(model.generate(**inputs, max_new_tokens=60), True)[0]
print("truth: ", prompts[0] + answers[0])
print("answer:", processor.post_process_generation(generated_text, cleanup_and_extract=False))
