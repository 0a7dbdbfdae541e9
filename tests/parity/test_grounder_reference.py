"""The whole road against the reference's: photographs and the model card's prompts, word for word.

The weights are small and random, the tokenizer is the released one where it is at hand and the
embedded model's elsewhere. Both sides read the same folder, which ours wrote.
"""

import dataclasses

import pytest
from PIL import Image

from kosmos2 import Kosmos2
from kosmos2.config import Config
from kosmos2.markup import reference_extract, with_boxes
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import vocabulary
from networks import loud_network

transformers = pytest.importorskip("transformers", reason="transformers is what we compare with")

NEW = 24
BOX = (0.04182509505703422, 0.39244186046511625, 0.38783269961977185, 1.0)
PROMPTS = (
    ("<grounding><phrase> a snowman</phrase>", None),
    ("<grounding><phrase> a snowman next to a fire</phrase>", None),
    ("<grounding><phrase> It</phrase> is", [BOX]),
    ("<grounding> Question: What is special about this image? Answer:", None),
    ("<grounding> Question: Where is<phrase> the fire</phrase> next to? Answer:", [BOX]),
    ("<grounding> An image of", None),
    ("<grounding> Describe this image in detail:", None),
)


@pytest.fixture(scope="module", params=["embedded", "released"])
def folder(request, tmp_path_factory):
    """A model of small random weights, loud enough that pictures and prompts matter."""
    if request.param == "released":
        tokenizer = Tokenizer.load(request.getfixturevalue("sentencepiece_model").parent)
    else:
        tokenizer = vocabulary.build()
    config = Config.tiny(vocabulary=tokenizer.size)
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, positions=300))
    network = loud_network(config, 11)
    path = tmp_path_factory.mktemp(request.param)
    Kosmos2(network, tokenizer).save(path)
    return path


@pytest.fixture(scope="module")
def reference(folder):
    model = transformers.Kosmos2ForConditionalGeneration.from_pretrained(folder)
    return model.eval(), transformers.Kosmos2Processor.from_pretrained(folder)


@pytest.fixture(scope="module")
def ours(folder) -> Kosmos2:
    return Kosmos2.load(folder)


@pytest.fixture(scope="module")
def photos(shared_folder) -> dict[str, Image.Image]:
    data = pytest.importorskip("skimage.data", reason="scikit-image brings the photographs")
    found = {name: Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea")}
    for name in ("snowman.png", "two_dogs.jpg"):
        if (shared_folder / name).is_file():
            found[name] = Image.open(shared_folder / name).convert("RGB")
    return found


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(("prompt", "boxes"), PROMPTS)
def test_every_prompt_of_the_model_card_is_answered_alike(
    ours, reference, photos, prompt, boxes, beams
):
    network, processor = reference
    answers = set()
    for name, photo in photos.items():
        inputs = processor(
            text=prompt,
            images=photo,
            bboxes=boxes,
            num_image_tokens=ours.config.latents,
            return_tensors="pt",
        )
        ids = network.generate(
            **inputs,
            max_new_tokens=NEW,
            num_beams=beams,
            do_sample=False,
            no_repeat_ngram_size=3,
            suppress_tokens=[ours.tokenizer.pad],  # the one thing that we never write
        )
        text = processor.batch_decode(ids, skip_special_tokens=True)[0]
        answer = ours.complete(photo, with_boxes(prompt, boxes), max_new_tokens=NEW, beams=beams)
        assert reference_extract(answer.markup) == processor.post_process_generation(text), name
        assert answer.tokens == int((ids[0, inputs["input_ids"].shape[1] :] != 1).sum()), name
        answers.add(answer.markup)
    assert len(answers) > 1, "the pictures make no difference"
