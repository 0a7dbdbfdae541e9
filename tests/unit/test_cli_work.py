"""The commands that draw, train, measure, list and examine."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import kosmos2.evaluate.scenes
import kosmos2.golden
from kosmos2.cli import doctor, evaluate, main
from kosmos2.cli import scenes as scenes_command
from kosmos2.golden import Check
from kosmos2.grounder import Kosmos2
from kosmos2.scenes.world import SHIPPED
from kosmos2.scenes.write import write_scenes
from kosmos2.weights import fetch

FIGURES = {
    "count": 2, "seed": 7, "model": "tiny",
    "referring": {"plain": {"acc50": 0.5, "acc50_interval": [0.1, 0.9]}},
    "absent": {"auc": None, "auc_interval": None},
}  # fmt: skip


def test_scenes_are_drawn_as_the_library_draws_them(tmp_path, capsys):
    words = ["scenes", "--count", "3", "--seed", "5", "--size", "48", "--out"]
    assert main([*words, str(tmp_path / "a")]) == 0
    shown = capsys.readouterr()
    assert not shown.out
    assert "wrote 3 scenes of seed 5" in shown.err
    same = write_scenes(tmp_path / "b", 3, 5, 48, world=SHIPPED)
    for file in same.iterdir():
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()


def test_scenes_are_not_overwritten_unless_asked(tmp_path, capsys):
    words = ["scenes", "--count", "1", "--size", "32", "--out", str(tmp_path)]
    (tmp_path / "mine.txt").write_text("keep me")
    assert main(words) == 65
    assert "not empty" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert (tmp_path / "mine.txt").exists()


def test_drawing_says_how_far_it_is(tmp_path, monkeypatch):
    told = []

    class Watched:
        def __init__(self, *what):
            pass

        def __enter__(self):
            return lambda *at: told.append(at)

        def __exit__(self, *how):
            pass

    monkeypatch.setattr(scenes_command, "Progress", Watched)
    assert main(["scenes", "--count", "2", "--size", "32", "--out", str(tmp_path / "s")]) == 0
    assert told == [(1, 2), (2, 2)]


@pytest.fixture
def measured(monkeypatch, tiny_model):
    """The measuring itself is somebody else's test."""
    asked = {}

    def measure(model, *, count, seed, world, closer, beams, on_progress):
        asked.update(model=model, count=count, seed=seed, closer=closer, beams=beams)
        on_progress(count, count)
        return FIGURES

    monkeypatch.setattr(evaluate, "load", lambda arguments, batch: tiny_model)
    monkeypatch.setattr(kosmos2.evaluate.scenes, "evaluate", measure)
    return asked


def test_an_evaluation_in_json_is_what_was_measured(measured, capsys, tiny_model):
    assert main(["eval", "scenes", "--count", "2", "--seed", "7", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == FIGURES
    assert shown.out.count("\n") == 1
    assert measured == {
        "model": tiny_model, "count": 2, "seed": 7, "closer": False, "beams": 1
    }  # fmt: skip


def test_an_evaluation_may_look_twice_and_search(measured):
    words = ["eval", "scenes", "--count", "2", "--closer", "--beams", "5", "--json"]
    assert main(words) == 0
    assert (measured["closer"], measured["beams"]) == (True, 5)


def test_an_evaluation_for_people_has_each_figure_with_its_interval(measured, capsys):
    assert main(["eval", "scenes", "--count", "2", "--seed", "7"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tiny: 2 scenes of seed 7",
        "  referring plain acc50  0.500  (0.100 to 0.900)",
        "  absent auc             nothing to measure",
    ]


def test_a_real_evaluation_of_a_real_folder(tiny_folder, capsys):
    words = ["eval", "scenes", "--count", "1", "--seed", "3", "--json", "--model", str(tiny_folder)]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["count"], figures["seed"], figures["model"]) == (1, 3, str(tiny_folder))
    assert set(figures) >= {"referring", "naming", "caption", "questions", "absent"}


def test_models_lists_what_is_here(monkeypatch, tmp_path, capsys, tiny_folder):
    from huggingface_hub import constants

    place = tmp_path / "models--someone--tiny"
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    other = tmp_path / "models--someone--other" / "snapshots" / ("1" * 40)
    other.mkdir(parents=True)
    (other / "config.json").write_text('{"model_type": "bert"}')
    (snapshot / "config.json").write_bytes((tiny_folder / "config.json").read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(fetch, "DEMO_FOLDER", tiny_folder)
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["name"] for row in rows] == ["demo", "someone/tiny"]
    assert rows[0]["here"]
    assert rows[0]["bytes"] == sum(file.stat().st_size for file in tiny_folder.iterdir())
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "someone/tiny" in shown
    assert fetch.RELEASED in shown


def test_models_says_when_the_demo_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fetch, "DEMO_FOLDER", tmp_path / "demo")
    assert main(["models", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["models"][0]
    assert not first["here"]
    assert "missing" in first["place"]


def test_the_doctor_finds_a_well_installation_well(monkeypatch, capsys, tiny_folder):
    monkeypatch.setattr(fetch, "DEMO_FOLDER", tiny_folder)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "all is well"
    for name in ("python", "torch", "cpu", "demo model", "demo answer"):
        assert f"  ok      {name} " in shown


def test_the_doctor_names_what_is_broken(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(fetch, "DEMO_FOLDER", tmp_path / "demo")
    monkeypatch.setattr(doctor, "LIBRARIES", ("torch",))
    assert main(["doctor", "--json"]) == 65
    report = json.loads(capsys.readouterr().out)
    broken = [finding["name"] for finding in report["findings"] if finding["state"] == "broken"]
    assert (report["ok"], broken) == (False, ["demo model"])
    monkeypatch.setattr(doctor, "LIBRARIES", ("torch", "no-such-library"))
    assert main(["doctor"]) == 70
    assert "pip install no-such-library" in capsys.readouterr().out


@pytest.fixture
def snowman(tmp_path):
    path = tmp_path / "snowman.png"
    Image.new("RGB", (50, 50), "white").save(path)
    return path


def test_the_doctor_verifies_a_model(monkeypatch, capsys, tiny_folder, snowman):
    asked = {}

    def verify(model, picture):
        asked.update(model=model, picture=picture)
        return [Check("sizes", True, "fine"), Check("scores", passed, "0.1 apart")]

    monkeypatch.setattr(kosmos2.golden, "verify", verify)
    for passed, code in ((True, 0), (False, 65)):
        words = ["doctor", "--verify", str(tiny_folder), "--image", str(snowman)]
        assert main(words) == code
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["ok", "sizes", "fine"]
        assert lines[1].split()[0] == ("ok" if passed else "broken")
    assert isinstance(asked["model"], Kosmos2)
    assert str(asked["model"].network.dtype) == "torch.float32"
    assert (asked["picture"].width, asked["picture"].name) == (50, str(snowman))


def test_verifying_needs_the_picture(capsys, tiny_folder, tmp_path):
    assert main(["doctor", "--verify", str(tiny_folder)]) == 66
    shown = capsys.readouterr().err
    assert "snowman.png" in shown
    assert "--image" in shown
    words = ["doctor", "--verify", str(tiny_folder), "--image", str(tmp_path / "no.png")]
    assert main(words) == 66


def test_other_weights_are_not_the_released_ones(capsys, tiny_folder, snowman):
    words = ["doctor", "--verify", str(tiny_folder), "--image", str(snowman), "--json"]
    assert main(words) == 65
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["name"], finding["state"]) == ("sizes", "broken")
