"""Scenes as files: a stranger can rebuild every picture from its line of truth."""

import json

import numpy as np
import pytest
from PIL import Image

from kosmos2.errors import InputError
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose
from kosmos2.scenes.world import SECOND
from kosmos2.scenes.write import write_scenes


def lines(folder):
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text("utf-8").splitlines()]


def test_the_truth_names_every_picture_and_everything_in_it(tmp_path):
    seen = []
    folder = write_scenes(tmp_path / "scenes", 4, 31, 96, lambda *at: seen.append(at))
    assert folder == tmp_path / "scenes"
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    truth = lines(folder)
    assert sorted(path.name for path in folder.glob("*.jpg")) == [line["file"] for line in truth]
    assert truth[0]["file"] == "scene_000000.jpg"
    for index, line in enumerate(truth):
        scene = compose(line["seed"], line["index"])
        assert (line["seed"], line["index"], line["width"], line["height"]) == (31, index, 96, 96)
        assert [thing["noun"] for thing in line["things"]] == [t.noun for t in scene.things]
        for written, thing in zip(line["things"], scene.things, strict=True):
            box = (thing.box.x1, thing.box.y1, thing.box.x2, thing.box.y2)
            assert written["box"] == pytest.approx(box, abs=1e-6)
        with Image.open(folder / line["file"]) as picture:
            apart = np.asarray(picture).astype(int) - draw_scene(scene, 96)
        assert np.abs(apart).mean() < 12


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="not empty"):
        write_scenes(tmp_path, 1, 0, 32)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_overwriting_replaces_the_scenes_and_nothing_else(tmp_path):
    write_scenes(tmp_path, 3, 1, 32)
    (tmp_path / "mine.txt").write_text("keep me")
    write_scenes(tmp_path, 1, 2, 32, overwrite=True)
    assert [(line["seed"], line["file"]) for line in lines(tmp_path)] == [(2, "scene_000000.jpg")]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"scene_000000.jpg", "truth.jsonl", "mine.txt"}


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        write_scenes(tmp_path / "file", 1, 0, 32)


def test_no_scenes_and_no_pixels_are_refused(tmp_path):
    for count, side_px in ((0, 64), (1, 4)):
        with pytest.raises(InputError, match="at least 1 scene"):
            write_scenes(tmp_path / "none", count, 0, side_px)
    assert not (tmp_path / "none").exists()


def test_the_truth_of_another_world_names_it_and_its_colours(tmp_path):
    folder = write_scenes(tmp_path / "scenes", 12, 31, 32, world=SECOND)
    truth = lines(folder)
    assert {line["world"] for line in truth} == {"second"}
    scenes = [compose(31, index, SECOND) for index in range(12)]
    told = [[thing.get("colour") for thing in line["things"]] for line in truth]
    assert told == [[thing.colour for thing in scene.things] for scene in scenes]
    assert any(colour for colours in told for colour in colours)
