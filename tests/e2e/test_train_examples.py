"""What `docs/training.md` says is so: exports of each kind become models by its commands.

Few steps of few rows, so nothing is learnt well here; what three minutes teach is measured by
`benchmarks/finetune.py`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from PIL import Image

import exports
from kosmos2 import Kosmos2
from kosmos2.cli import arguments, main
from kosmos2.model import Network
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose
from kosmos2.scenes.world import HELD_BACK, NEW
from kosmos2.train import vocabulary
from kosmos2.train.recipe import Recipe
from processes import CONFIG

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/training.md").read_text()
RUN = [
    line
    for block in re.findall(r"^<!-- runs -->\n```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
SHOWN = re.findall(r"^(?:torchrun .* -m )?kosmos2 (.+)$", PAGE, re.MULTILINE)
FEW = ["stage.steps=2", "stage.rows=2", "stage.accumulate=1", "train.workers=0",
       "train.held_out=2", "train.log_every=1"]  # fmt: skip


def quickly(*more: str) -> list[str]:
    return [word for one in (*FEW, *more) for word in ("--set", one)]


def labelled(folder: Path, count: int, names: tuple[str, ...] = HELD_BACK) -> Path:
    """A COCO export of pictures of things that the embedded model has never seen."""
    images, annotations = [], []
    side = 200
    for number in range(count):
        scene = compose(11, number, NEW)
        picture = exports.write(folder / "images" / f"{number}.png", b"")
        Image.fromarray(draw_scene(scene, side)).save(picture)
        images.append({"id": number, "file_name": picture.name, "width": side, "height": side})
        for thing in scene.things:
            x1, y1, x2, y2 = (side * edge for edge in thing.box.corners)
            annotations.append({"id": len(annotations), "image_id": number, "iscrowd": 0,
                                "category_id": HELD_BACK.index(thing.noun),
                                "bbox": [x1, y1, x2 - x1, y2 - y1]})  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    export = {"images": images, "annotations": annotations, "categories": categories}
    return exports.write(folder / "instances.json", export)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A model to start from that has learnt nothing."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    text = dataclasses.replace(CONFIG.text, positions=300)
    torch.manual_seed(1)
    network = Network(dataclasses.replace(CONFIG, text=text))
    network.initialise()
    Kosmos2(network, vocabulary.build()).save(folder)
    return folder


def test_twenty_labelled_pictures_become_a_model_that_both_libraries_read_alike(tmp_path):
    transformers = pytest.importorskip("transformers")
    data = labelled(tmp_path, 20, (*HELD_BACK[:-1], "steam gauge"))
    words = ["train", "--out", str(tmp_path / "run"), "--data", str(data)]
    assert main([*words, *quickly("train.save_as=float32")]) == 0

    folder = tmp_path / "run" / "model"
    ours = Kosmos2.load(folder)
    assert len(ours.tokenizer.encode(" a steam gauge")) == 3  # words that it could only spell
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    picture = Image.open(tmp_path / "images" / "0.png").convert("RGB")
    asked = "<grounding><phrase> a steam gauge</phrase>"
    inputs = processor(text=asked, images=picture, return_tensors="pt")
    with torch.inference_mode():
        mine = ours.network(
            inputs["input_ids"],
            pixels=inputs["pixel_values"],
            slots=inputs["image_embeds_position_mask"].bool(),
        )
        yours = theirs(**inputs).logits
    torch.testing.assert_close(mine, yours, atol=1e-4, rtol=1e-4)
    before = Kosmos2.load().network.vision.state_dict()
    assert any(not torch.equal(one, before[name])
               for name, one in ours.network.vision.state_dict().items())  # fmt: skip


@pytest.mark.parametrize("write", [exports.yolo, exports.voc, exports.labelstudio, exports.coco])
def test_each_labelling_export_trains_by_the_same_command(
    write: Callable[[Path], Path], tiny, tmp_path
):
    data = write(tmp_path / "labels")
    words = ["train", "--out", str(tmp_path / "run"), "--data", str(data), "--model", str(tiny)]
    assert main([*words, *quickly("train.held_out=0")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "report" in line]
    assert [line["whole"] for line in steps] == [1, 2]
    assert {kind for line in steps for kind in line["report"]["kinds"]} & {"find", "caption"}
    # Of the classes the scenes know all but the bird; now it has a piece as they have.
    model = Kosmos2.load(tmp_path / "run" / "model")
    assert all(len(model.tokenizer.encode(f" {name}")) == 1 for name in exports.CLASSES)


@pytest.mark.parametrize("released", ["coyo_0_snappy.parquet", "00000.tar"])
def test_grit_as_released_trains_for_ten_steps(released, tiny, tmp_path):
    data = tmp_path / "grit" / released
    words = ["train", "pretrain", "--out", str(tmp_path / "run"), "--model", str(tiny)]
    words += ["--data", str(data), *quickly("stage.steps=10", "train.held_out=0")]
    if data.suffix == ".tar":
        exports.shard(data)
    else:
        pytest.importorskip("pyarrow")
        exports.parquet(data)
        words += ["--set", f"data.pictures={data.parent / 'by_key'}"]
    assert main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "report" in line]
    assert len(steps) == 10
    assert steps[-1]["bad"] == 0
    assert any("caption" in line["report"]["kinds"] for line in steps)


@pytest.fixture
def desk(tmp_path, monkeypatch, tiny) -> Path:
    """A folder as the page supposes it."""
    labelled(tmp_path / "labels", 20, (*HELD_BACK[:-1], "gauge"))
    exports.shard(tmp_path / "grit" / "00000.tar")
    exports.parquet(tmp_path / "grit" / "coyo_0_snappy.parquet")
    with resources.as_file(resources.files("kosmos2") / "assets/examples/snowman.jpg") as example:
        shutil.copy(example, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_run_one_after_another(desk, capsys):
    """As written, but for how long they train."""
    pytest.importorskip("pyarrow")
    for line in RUN:
        words = shlex.split(line)[1:]
        lasts = words[0] == "train" and not {"--dry-run", "--plan"} & set(words)
        assert main([*words, *(quickly() if lasts else ())]) == 0, capsys.readouterr().err
    assert (desk / "runs/look/dry-run.html").is_file()
    assert {file.name for file in (desk / "runs/mine").iterdir()} >= {
        "recipe.toml", "log.jsonl", "held_out", "report.html", "model",
    }  # fmt: skip
    assert Kosmos2.load(desk / "runs/tables/model").name


def test_the_page_has_commands_and_all_of_them_are_understood():
    assert len(RUN) == 6
    assert sum(line.startswith("train") for line in SHOWN) >= 7
    for line in SHOWN:
        arguments.read(shlex.split(line))


def test_the_recipe_of_the_page_is_one(desk):
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    recipe = Recipe.from_toml(text)
    assert recipe.name == "gauges"
    (desk / "gauges.toml").write_text(text)
    assert main(["train", "gauges.toml", "--plan"]) == 0
