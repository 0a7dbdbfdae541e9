"""`kosmos2 train`: from somebody's pictures to a model that both libraries load, in one command."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import exports
from kosmos2 import Kosmos2
from kosmos2.cli import main
from kosmos2.model import Network
from kosmos2.train import vocabulary
from kosmos2.train.checkpoint import found
from kosmos2.train.recipe import Recipe
from processes import CONFIG

QUICK = ["stage.rows=4", "stage.rate=1e-3", "train.workers=0", "train.precision=float32",
         "train.held_out=4", "train.save_as=float32", "train.log_every=1"]  # fmt: skip


def settings(*more: str) -> list[str]:
    return [word for one in (*QUICK, *more) for word in ("--set", one)]


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


@pytest.fixture(scope="module")
def coco(tmp_path_factory) -> Path:
    """A COCO export of 20 pictures, as a labelling program writes it."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(20):
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 60, "height": 40})
        for which in range(1 + number % 2):
            box = [int(rng.integers(0, 30)), int(rng.integers(0, 20)), 20, 15]
            annotations.append({"id": len(annotations) + 1, "image_id": number, "bbox": box,
                                "category_id": 1 + which, "area": 300, "iscrowd": 0})  # fmt: skip
    names = [{"id": 1, "name": "gauge"}, {"id": 2, "name": "valve"}]
    content = {"images": images, "annotations": annotations, "categories": names}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


def test_a_labelling_export_becomes_a_model_that_the_reference_library_loads(
    tiny, coco, tmp_path, capsys
):
    words = ["train", "--out", str(tmp_path), "--data", str(coco), "--model", str(tiny)]
    assert main([*words, *settings("stage.steps=6")]) == 0
    shown = capsys.readouterr()
    assert not shown.out
    assert f"--model {tmp_path / 'model'}" in shown.err
    assert (tmp_path / "report.html").is_file()
    recipe = Recipe.read(tmp_path / "recipe.toml")
    assert (recipe.name, recipe.stage[0].steps, recipe.model.start) == ("finetune", 6, str(tiny))
    assert [data.name for data in recipe.data] == [str(coco)]
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    kinds = {kind for line in steps if "report" in line for kind in line["report"]["kinds"]}
    assert {"find", "caption"} <= kinds

    ours = Kosmos2.load(tmp_path / "model")
    before = Kosmos2.load(tiny).network.decoder.words.weight
    assert not torch.equal(ours.network.decoder.words.weight, before)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "model").eval()
    torch.manual_seed(0)
    size, latents = CONFIG.vision.image_size, CONFIG.latents
    pixels = torch.randn(1, 3, size, size)
    ids = torch.tensor([[0, 5, *range(6, 6 + latents), 7, 9, 11]])
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, 2 : 2 + latents] = True
    with torch.inference_mode():
        mine = ours.network(ids, pixels=pixels, slots=slots)
        yours = theirs(
            pixel_values=pixels, input_ids=ids, image_embeds_position_mask=slots.long()
        ).logits
    torch.testing.assert_close(mine, yours, atol=1e-5, rtol=1e-4)


def test_without_a_model_it_is_the_embedded_one_and_its_scenes_are_replayed(coco, tmp_path):
    words = ["train", "--out", str(tmp_path), "--data", str(coco)]
    assert main([*words, *settings("stage.steps=1", "stage.rows=2", "train.held_out=0")]) == 0
    recipe = Recipe.read(tmp_path / "recipe.toml")
    assert [data.name for data in recipe.data] == ["scenes", str(coco)]
    learnt, before = Kosmos2.load(tmp_path / "model"), Kosmos2.load()
    assert learnt.config.vision == before.config.vision
    # "gauge", "gauges", "valve", "valves"
    assert learnt.tokenizer.size == before.tokenizer.size + 4


@pytest.mark.parametrize("released", ["coyo_0_snappy.parquet", "00000.tar"])
def test_grit_as_it_is_released_trains_for_ten_steps(released, tiny, tmp_path):
    data = tmp_path / released
    if data.suffix == ".tar":
        exports.shard(data)
    else:
        pytest.importorskip("pyarrow")
        exports.parquet(data)
    words = ["train", "pretrain", "--model", str(tiny), "--data", str(data)]
    changes = settings("stage.steps=10", "stage.accumulate=2", "train.held_out=0")
    if (tmp_path / "by_key").exists():
        changes += ["--set", f"data.pictures={tmp_path / 'by_key'}"]
    assert main([*words, *changes, "--out", str(tmp_path / "run")]) == 0
    assert Kosmos2.load(tmp_path / "run" / "model").complete(None, "An image of").finish


def test_the_plan_is_printed_and_nothing_is_written(tmp_path, monkeypatch, capsys, coco):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "paper", "--plan", "--gpus", "256xV100"]) == 0
    shown = capsys.readouterr().out
    assert "419 K a step, 25.1 B in all" in shown
    assert "on 256 V100" in shown
    assert main(["train", "--data", str(coco), "--plan"]) == 0
    assert f"{coco}: 3 rows a step" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_draws_the_rows_and_trains_nothing(tiny, coco, tmp_path, capsys):
    words = ["train", "--out", str(tmp_path), "--data", str(coco), "--model", str(tiny)]
    assert main([*words, "--dry-run"]) == 0
    page = capsys.readouterr().err.strip().rpartition(" ")[2]
    assert "gauge" in Path(page).read_text()
    assert not found(tmp_path)


def test_a_loss_that_is_no_number_ends_with_four_and_names_the_rows(tiny, coco, tmp_path, capsys):
    words = ["train", "--out", str(tmp_path), "--data", str(coco), "--model", str(tiny)]
    assert main([*words, *settings("stage.steps=40", "stage.rate=1e30", "stage.warm_up=0")]) == 4
    shown = capsys.readouterr().err
    assert "nothing was learnt from it" in shown
    named = json.loads((tmp_path / "bad_batch.json").read_text())["rows"]
    assert len(named) == 4
    assert all("boxes.json" in name for name in named)


def test_a_model_and_a_report_are_made_again_of_the_run_alone(tiny, coco, tmp_path, capsys):
    words = ["train", "--out", str(tmp_path), "--data", str(coco), "--model", str(tiny)]
    assert main([*words, *settings("stage.steps=2", "train.ema=0.5")]) == 0
    model, page = tmp_path / "model" / "model.safetensors", tmp_path / "report.html"
    made = model.read_bytes()
    shutil.rmtree(tmp_path / "model")
    page.unlink()
    capsys.readouterr()
    assert main(["train", "--out", str(tmp_path), "--consolidate"]) == 0
    assert f"--model {tmp_path / 'model'}" in capsys.readouterr().err
    assert model.read_bytes() == made
    assert not page.exists()
    assert main(["train", "--out", str(tmp_path), "--report"]) == 0
    assert f"wrote {page}" in capsys.readouterr().err
    assert page.is_file()


def test_a_run_is_not_gone_on_with_by_another_recipe(tiny, coco, tmp_path, capsys):
    words = ["train", "--out", str(tmp_path), "--data", str(coco), "--model", str(tiny)]
    assert main([*words, *settings("stage.steps=1")]) == 0
    capsys.readouterr()
    assert main([*words, *settings("stage.steps=1", "train.seed=4")]) == 64
    assert "seed = 2" in capsys.readouterr().err


def heed_ctrl_c() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_run_that_is_asked_to_stop_saves_and_can_go_on(sign, tiny, coco, tmp_path):
    words = ["train", "--out", str(tmp_path), "--data", str(coco), "--model", str(tiny)]
    words += settings("stage.steps=100000", "train.workers=1", "train.held_out=0")
    process = subprocess.Popen(
        [sys.executable, "-m", "kosmos2", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    log = tmp_path / "log.jsonl"
    for _ in range(600):
        if log.exists() and "report" in log.read_text():
            break
        time.sleep(0.2)
    process.send_signal(getattr(signal, sign))
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 75, shown
    assert "the same command goes on from there" in shown
    assert "Traceback" not in shown
    assert len(found(tmp_path)) == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--out", "x"], 64, "say what to learn: a recipe, or --data PATH to finetune with"),
        (["finetune"], 64, "training needs a folder; say --out DIR"),
        (["fintune", "--out", "x"], 64, "there is no recipe 'fintune'; did you mean finetune?"),
        (["finetune", "--out", "x", "--gpus", "3"], 64, "add --plan"),
        (["--consolidate"], 64, "say --out DIR, its folder"),
        (["demo", "--out", "x", "--report"], 64, "leave the rest out"),
        (["--out", "x", "--report"], 65, "name the folder that training ran in"),
        (["finetune", "--out", "x", "--set", "train.sede=3"], 64, "did you mean train.seed?"),
        (["finetune", "--plan", "--gpus", "3xAbacus"], 64, "known: T4"),
        (["finetune", "--out", "x", "--model", "nowhere"], 65, "no model 'nowhere'"),
        (["lora", "--out", "x", "--data", "nowhere.json"], 65, "there is no"),
    ],
)
def test_words_that_cannot_be_followed_are_told_in_one_line(
    words, code, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == code
    shown = capsys.readouterr().err
    assert told in shown
    assert shown.count("\n") == 1


def test_training_into_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "demo", "--out", str(tmp_path / "file")]) == 64
    assert "is a file" in capsys.readouterr().err
