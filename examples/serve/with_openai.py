"""Ask a running server through OpenAI's own client.

    python examples/serve/with_openai.py [server] [picture]

Words are where every program expects them; boxes stand beside them in `grounding`, which is ours,
and so is the `grounding` of a request. A key is taken from KOSMOS2_API_KEY.
"""

import argparse
import base64
import os
from importlib.resources import files
from pathlib import Path

import openai

arguments = argparse.ArgumentParser(description="Ask a running server.")
arguments.add_argument("server", nargs="?", default="http://127.0.0.1:8000")
arguments.add_argument(
    "picture", nargs="?", default=files("kosmos2") / "assets/examples/snowman.jpg"
)
given = arguments.parse_args()

# The client wants a key, also where the server does not.
key = os.environ.get("KOSMOS2_API_KEY", "none")
client = openai.OpenAI(base_url=f"{given.server}/v1", api_key=key)
model = client.models.list().data[0].id

encoded = base64.b64encode(Path(given.picture).read_bytes()).decode()
url = f"data:image/jpeg;base64,{encoded}"


def message(text: str) -> list:
    """The picture and some words."""
    picture = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [picture, {"type": "text", "text": text}]}]


def show(entity: dict) -> None:
    """A phrase and its places."""
    for place in entity["boxes"]:
        print(f"  {entity['phrase']}: {place['box']}, score {place['score']:.2f}")


# What is in the picture, with boxes in pixels.
reply = client.chat.completions.create(
    model=model,
    messages=message("Describe the image."),
    extra_body={"grounding": {"coords": "px"}},
)
answer = reply.choices[0].message
print(answer.content)
for entity in answer.grounding["entities"]:
    show(entity)

# Words as they come, and each entity as soon as it is complete.
stream = client.chat.completions.create(
    model=model, messages=message("Describe this image in detail:"), stream=True
)
entities = []
for chunk in stream:
    delta = chunk.choices[0].delta
    print(delta.content or "", end="", flush=True)
    entities += (getattr(delta, "grounding", None) or {}).get("entities", [])
print()
for entity in entities:
    show(entity)

# Where something is that you name, and what stands in a box that you draw.
phrases = ["a snowman", "a drum"]
reply = client.chat.completions.create(
    model=model, messages=message(""), extra_body={"grounding": {"phrases": phrases}}
)
for entity in reply.choices[0].message.grounding["entities"]:
    print(f"{entity['phrase']}: {len(entity['boxes'])} found")
    show(entity)
reply = client.chat.completions.create(
    model=model,
    messages=message("What is [this]?"),
    extra_body={"grounding": {"boxes": [[0.1, 0.5, 0.5, 0.9]]}},
)
print(f"That is {reply.choices[0].message.content}")

# Faults come as the client's own exceptions, with a code.
try:
    client.chat.completions.create(
        model=model, messages=message("?"), extra_body={"grounding": {"boxes": [[1, 1, 0, 0]]}}
    )
except openai.BadRequestError as error:
    print(f"refused: {error.code}, {error.param}")
