"""What comes with a change of library: examples that run, and a page that is true.

Each example runs offline, in a process of its own in which the reference cannot be imported.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kosmos2 import Kosmos2, hf
from kosmos2.errors import ConfigError, ImageError, InputError, PromptError
from kosmos2.geometry import Box, box_of, cells_of
from kosmos2.scenes.layout import compose
from kosmos2.scenes.world import SECOND

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migrate.md"
FOLDER = Path(__file__).resolve().parents[2] / "examples" / "hf"
SNOWMAN = next(t.box for t in compose(20, 198748, SECOND).things if t.noun == "snowman")
NOT_NEEDED = ("transformers", "torchvision", "sentencepiece", "accelerate", "bitsandbytes")
RUN = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({NOT_NEEDED}))  # None: importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(folder: Path, script: str, *words: str) -> str:
    """What the script prints, run in `folder`."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(FOLDER / script), *words],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def picture():
    with resources.as_file(resources.files("kosmos2") / "assets/examples/snowman.jpg") as path:
        yield path


def test_every_example_is_tested_and_told_of():
    scripts = {path.name for path in FOLDER.glob("*.py")}
    page = (FOLDER / "README.md").read_text()
    assert scripts == set(re.findall(r"\]\((\w+\.py)\)", page))
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert scripts == tested


def test_the_caption_is_that_of_our_own_front_door(tmp_path, picture):
    markup, text, entities = run(tmp_path, "caption.py").splitlines()
    answer = Kosmos2.load().complete(picture, "<grounding>An image of", max_new_tokens=128)
    assert text == answer.text
    assert "<phrase> a snowman</phrase><object><patch_index_" in markup
    found = {phrase: boxes for phrase, _, boxes in ast.literal_eval(entities)}
    assert Box(*found["a snowman"][0]).iou(SNOWMAN) > 0.5


def test_picture_and_model_can_be_named(tmp_path, picture):
    Image.open(picture).save(tmp_path / "mine.png")
    Kosmos2.load().save(tmp_path / "model")
    named = run(tmp_path, "caption.py", "mine.png", "model")
    assert named == run(tmp_path, "caption.py", "mine.png")


def test_the_seven_tasks_are_answered(tmp_path):
    lines = run(tmp_path, "tasks.py").splitlines()
    assert len(lines) == 7 * 4
    for title, text, entities, markup in zip(*(lines[i::4] for i in range(4)), strict=True):
        assert title.startswith("# ")
        assert text
        assert "<" not in text
        assert markup.startswith("<grounding>")
        assert isinstance(ast.literal_eval(entities), list)
    (phrase, _, boxes), *_ = ast.literal_eval(lines[2])
    assert phrase == "a snowman"
    assert Box(*boxes[0]).iou(SNOWMAN) > 0.5


def test_boxes_are_drawn_where_they_were_said(tmp_path, picture):
    told = run(tmp_path, "draw.py", "--save", "drawn.png")
    assert "drawn.png: 3 phrases on 640 x 640 pixels" in told
    drawn, plain = np.asarray(Image.open(tmp_path / "drawn.png")), np.asarray(Image.open(picture))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()


def test_a_question_about_a_box_is_answered(tmp_path, picture):
    markup, text, entities = run(tmp_path, "questions_about_a_box.py").splitlines()
    assert text.startswith("Question: What is this")
    phrase, span, boxes = ast.literal_eval(entities)[0]
    assert (phrase, text[slice(*span)]) == ("this", "this")
    assert Box(*boxes[0]) == box_of(*cells_of(SNOWMAN))  # as the text could name it
    assert "snowman" in text.partition("Answer:")[2]
    assert "<grounding>" in markup
    assert (tmp_path / "asked.png").is_file()


def test_the_vectors_have_the_shapes_of_the_embedded_model(tmp_path):
    lines = run(tmp_path, "last_hidden_state.py").splitlines()
    shapes = {
        name: ast.literal_eval(shape) for name, shape in (line.split(" ", 1) for line in lines)
    }
    one, tokens, width = shapes["last_hidden_state"]
    assert (one, width) == (1, 256)
    assert shapes["image_embeds"] == [1, 64, width]
    assert shapes["hidden_states"] == 4 + 1
    assert shapes["attentions"] == [1, 4, tokens, tokens]
    assert shapes["projection_attentions"] == [1, 4, 64, 257 + 64]
    assert shapes["vision"] == [1, 257, 320]


def test_a_network_of_own_sizes_is_saved_and_read_back(tmp_path):
    released, count, read_back = run(tmp_path, "configuration.py").splitlines()
    assert released == "2048 1024"
    assert int(count.split()[0].replace(",", "")) > 4_000_000
    assert read_back == "read back: True"


def test_fine_tuning_learns_ten_scenes_by_heart(tmp_path):
    """All the way to the loss that it promises, within half a minute on two cores."""
    told = run(tmp_path, "finetune.py")
    first, *_, last = (float(loss) for loss in re.findall(r"loss (\d+\.\d+)", told))
    assert first > 1
    assert last < 0.1
    truth, answer = (re.search(rf"{name}: +(.*)", told)[1] for name in ("truth", "answer"))
    assert "".join(answer.split()) == "".join(truth.split())


@pytest.mark.skipif(
    importlib.util.find_spec("supervision") is None, reason="supervision is not installed"
)
def test_the_supervision_library_takes_our_answer(tmp_path):
    lines = run(tmp_path, "supervision_boxes.py").splitlines()
    found = dict(re.fullmatch(r"(.*) (\[.*\])", line).groups() for line in lines)
    box = Box.from_scaled(ast.literal_eval(found["a snowman"]), "px", 640, 640)
    assert box.iou(SNOWMAN) > 0.5
    assert Image.open(tmp_path / "detections.png").size == (640, 640)


def test_without_the_supervision_library_its_example_says_what_to_install(tmp_path):
    hidden = RUN.replace("(dict", "(supervision=None, **dict")
    ran = subprocess.run(
        [sys.executable, "-c", hidden, str(FOLDER / "supervision_boxes.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert 'pip install "supervision' in ran.stderr


# The page about migration: what it says is refused is refused, what it says is there is there.

REFUSED = {
    "`num_beams` with `do_sample=True`": {"num_beams": 2, "do_sample": True},
    "`num_beam_groups`": {"num_beam_groups": 2, "num_beams": 2},
    "`penalty_alpha`": {"penalty_alpha": 0.6},
    "`assistant_model`": {"assistant_model": object()},
    "`guidance_scale`": {"guidance_scale": 2.0},
    "`stop_strings`": {"stop_strings": ["."]},
    "an unknown argument of `generate`": {"max_new_token": 3},
    "`image_embeds_position_mask`": {"image_embeds_position_mask": None},
}
LOADING = {
    "`attn_implementation` other than": {"attn_implementation": "flash_attention_2"},
    "a `device_map` of several devices": {"device_map": {"vision": 0, "text": 1}},
}


@pytest.fixture(scope="module")
def model_and_inputs(picture):
    model = hf.Kosmos2ForConditionalGeneration.from_pretrained("demo")
    processor = hf.AutoProcessor.from_pretrained("demo")
    inputs = processor(text="An image of", images=Image.open(picture), return_tensors="pt")
    return model, inputs


@pytest.mark.parametrize("row", REFUSED)
def test_what_the_page_says_generate_refuses_is_refused(row, model_and_inputs):
    assert row in PAGE.read_text()
    model, inputs = model_and_inputs
    with pytest.raises(ValueError, match=r"not offered|did you mean|position_mask"):
        model.generate(**{**inputs, "max_new_tokens": 2, **REFUSED[row]})


@pytest.mark.parametrize("row", LOADING)
def test_what_the_page_says_loading_refuses_is_refused(row):
    assert row in PAGE.read_text()
    with pytest.raises(ConfigError):
        hf.Kosmos2ForConditionalGeneration.from_pretrained("demo", **LOADING[row])


def test_what_else_the_page_says_is_refused_is_refused(model_and_inputs, tmp_path):
    model, inputs = model_and_inputs
    processor = hf.AutoProcessor.from_pretrained("demo")
    with pytest.raises(ImageError, match="do_rescale=False"):
        processor(images=np.full((30, 30, 3), 0.5), return_tensors="pt")
    with pytest.raises(InputError, match="head_mask"):
        model(**inputs, head_mask=torch.ones(4))
    with pytest.raises(ConfigError, match="pickle"):
        model.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(PromptError, match="max_length=67"):
        processor(text="a", images=Image.new("RGB", (9, 9)), truncation=True, max_length=40)


def test_the_switch_of_the_page_gives_the_old_numbers(picture):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(compile(block, "docs/migrate.md", "exec"), names)
    cut = names["processor"](text="a", images=Image.open(picture), truncation=True, max_length=40)
    lengths = [len(cut[name]) for name in ("input_ids", "attention_mask")]
    assert lengths == [66, 40]  # which do not go together


def test_the_page_names_only_what_there_is(model_and_inputs):
    model, _ = model_and_inputs
    page = PAGE.read_text()
    for name in set(re.findall(r"`((?:Kosmos2|Auto|draw_|labels_for)\w*)`", page)):
        assert hasattr(hf, name), name
    for name in ("text_model", "vision_model"):
        assert f"`model.{name}`" in page
        assert isinstance(getattr(model, name), torch.nn.Module)
    for name in ("resize_token_embeddings", "push_to_hub"):
        assert f"`{name}`" in page
        assert not hasattr(model, name)
