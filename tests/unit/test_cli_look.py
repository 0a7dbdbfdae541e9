"""The commands that look at pictures say what the verbs of the object say."""

from __future__ import annotations

import json
import struct

import pytest
from PIL import Image

from kosmos2 import Grounded, draw, drawing
from kosmos2.cli import look, main
from kosmos2.grounder import closer, part

SNOWMAN = "<grounding><phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>"
KEYS = {"text", "markup", "entities", "problems", "coords", "image", "model"}
FEW = ["--max-new-tokens", "6"]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save(path)
    return path


@pytest.fixture
def run(monkeypatch, capsys, tiny_model):
    """Run a command on the tiny model, loaded once; gives code, output and complaints."""
    monkeypatch.setattr(look, "load", lambda arguments: tiny_model)

    def run(*words: object):
        code = main([str(word) for word in words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.mark.parametrize(
    ("words", "verb", "wanted"),
    [
        (["caption", "IMAGE"], "caption", {}),
        (["caption", "IMAGE", "--detailed"], "caption", {"detailed": True}),
        (["caption", "IMAGE", "--plain"], "caption", {"grounded": False}),
        (["caption", "IMAGE", "--closer"], "caption", {"closer": True}),
        (["ground", "IMAGE", "a dog", "a cat"], "ground", {"phrases": ["a dog", "a cat"]}),
        (["describe", "IMAGE", "--box", "0.1,0.2,0.5,0.9"], "describe",
         {"box": (0.1, 0.2, 0.5, 0.9)}),
        (["describe", "IMAGE", "--box", "6,8,30,36", "--coords", "px"], "describe",
         {"box": (0.1, 0.2, 0.5, 0.9)}),
        (["describe", "IMAGE", "--box", "100 200 500 900", "--coords", "norm1000"], "describe",
         {"box": (0.1, 0.2, 0.5, 0.9)}),
        (["describe", "IMAGE", "--box", "-0.5,-2,1.5,1", "--plain"], "describe",
         {"box": (0, 0, 1, 1), "grounded": False}),
        (["describe", "IMAGE", "--box", "0,0,.1,.1", "--closer"], "describe",
         {"box": (0, 0, 0.1, 0.1), "closer": True}),
        (["ask", "IMAGE", "What is this?"], "ask", {"question": "What is this?"}),
        (["ask", "IMAGE", "Is [it] on [this]?", "--box", "0,0,.5,.5", "--box", ".5,0,1,1"], "ask",
         {"question": "Is [it] on [this]?", "boxes": [(0, 0, 0.5, 0.5), (0.5, 0, 1, 1)]}),
        (["complete", "IMAGE", SNOWMAN], "complete", {"prompt": SNOWMAN}),
        (["caption", "IMAGE", "--beams", "2"], "caption", {"beams": 2}),
        (["caption", "IMAGE", "--temperature", "2", "--seed", "5"], "caption",
         {"temperature": 2.0, "seed": 5}),
        (["caption", "IMAGE", "--no-repeat-ngram", "0"], "caption", {"no_repeat_ngram_size": 0}),
    ],
)  # fmt: skip
def test_each_command_is_a_verb(run, picture, tiny_model, words, verb, wanted):
    words = [picture if word == "IMAGE" else word for word in words]
    code, out, err = run(*words, "--json", *FEW)
    assert (code, err) == (0, "")
    answer = getattr(tiny_model, verb)(picture, max_new_tokens=6, **wanted)
    document = json.loads(out)
    assert document.pop("file") == str(picture)
    coords = document["coords"]
    assert document == json.loads(json.dumps(answer.to_dict(coords)))


def test_json_is_one_document_and_nothing_else(run, picture):
    code, out, err = run("complete", picture, SNOWMAN, "--json", "--coords", "px", *FEW)
    assert (code, err, out.count("\n")) == (0, "", 1)
    document = json.loads(out)
    assert set(document) >= KEYS
    assert document["image"] == {"width": 60, "height": 40}
    assert document["coords"] == "px"
    (entity,) = document["entities"]
    assert (entity["phrase"], entity["start"], entity["end"]) == ("a dog", 0, 5)
    (box,) = entity["boxes"]
    assert box["box"] == pytest.approx([0.390625 * 60, 0.046875 * 40, 0.984375 * 60, 0.828125 * 40])
    assert "score" in box
    assert Grounded.from_dict(document).entities[0].phrase == "a dog"


def test_several_pictures_give_a_document_a_line(run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(look, "TOGETHER", 2)
    names = [picture]
    for number in range(2):
        names.append(tmp_path / f"{number}.jpg")
        Image.effect_noise((30, 30), 50 + number).convert("RGB").save(names[-1])
    code, out, err = run("caption", *names, "--json", *FEW)
    assert (code, err) == (0, "")
    together = [json.loads(line) for line in out.splitlines()]
    assert [document["file"] for document in together] == [str(name) for name in names]
    alone = [json.loads(run("caption", name, "--json", *FEW)[1]) for name in names]
    assert together == alone


def test_a_bad_picture_among_several_is_named_and_the_others_are_answered(run, picture, tmp_path):
    code, out, err = run("caption", picture, tmp_path / "no.png", picture, "--json", *FEW)
    assert code == 66
    assert len(out.splitlines()) == 2
    assert err.count("\n") == 1
    assert "no.png" in err


def test_with_bad_pictures_only_no_model_is_loaded(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(look, "load", lambda arguments: pytest.fail("loaded"))
    assert main(["caption", str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 66
    assert capsys.readouterr().err.count("\n") == 2


def test_without_a_terminal_there_is_text_and_a_table(run, picture):
    code, out, err = run("complete", picture, SNOWMAN, *FEW)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("a dog")
    assert lines[1].split() == ["x1", "y1", "x2", "y2", "score"]
    assert lines[2].split() == ["a", "dog", "0.391", "0.047", "0.984", "0.828", "-"]
    assert "\x1b" not in out


def test_a_phrase_that_is_nowhere_is_in_the_table(run, picture):
    code, out, _ = run("ground", picture, "a dog", "a cat", *FEW)
    assert code == 0
    assert [line.split("  ")[1] for line in out.splitlines() if "not found" in line] == [
        "a dog", "a cat",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["png", "svg", "html", "json"])
def test_an_answer_is_saved_as_its_name_says(run, picture, tmp_path, tiny_model, kind):
    place = tmp_path / f"answer.{kind}"
    words = ("complete", picture, SNOWMAN, "--coords", "norm1000")
    code, out, err = run(*words, "--json", "--save", place, *FEW)
    assert (code, err) == (0, f"saved {place}\n")
    document = json.loads(out)
    if kind == "png":
        answer = tiny_model.complete(picture, SNOWMAN, max_new_tokens=6)
        with Image.open(place) as drawn:
            assert drawn.tobytes() == draw(picture, answer).tobytes()
    elif kind == "json":
        saved = json.loads(place.read_text())
        assert saved == {key: value for key, value in document.items() if key != "file"}
    else:
        assert "a dog" in place.read_text()


def test_several_answers_are_saved_under_numbers(run, picture, tmp_path):
    code, out, err = run("caption", picture, picture, "--save", tmp_path / "a.json", *FEW)
    assert code == 0
    assert sorted(path.name for path in tmp_path.glob("a*.json")) == ["a-1.json", "a-2.json"]
    assert err.splitlines() == [f"saved {tmp_path / f'a-{n}.json'}" for n in (1, 2)]
    assert out.splitlines()[0] == str(picture)


@pytest.mark.parametrize(
    ("save", "told"),
    [("answer.gif", "end it in .png"), ("nowhere/a.png", "no folder"), ("picture.png", "over")],
)
def test_a_place_that_cannot_be_is_refused_before_the_work(
    monkeypatch, capsys, picture, tmp_path, save, told
):
    monkeypatch.setattr(look, "load", lambda arguments: pytest.fail("loaded"))
    before = picture.read_bytes()
    assert main(["caption", str(picture), "--save", str(tmp_path / save)]) == 64
    assert told in capsys.readouterr().err
    assert picture.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["describe", "IMAGE", "--box", "0.5,0,0.1,1"], "inverted"),
        (["describe", "IMAGE", "--box", "0.5,0,0.5,1"], "empty"),
        (["describe", "IMAGE", "--box", "2,2,30,30"], "pixels need --coords px"),
        (["describe", "IMAGE", "--box", "70,0,80,9", "--coords", "px"], "60 x 40 pixels"),
        (["ask", "IMAGE", "What is [this]?", "--box", "0,0,1,1", "--box", "0,0,1,1"],
         "2 box lists for 1 phrases"),
        (["ask", "IMAGE", "What is this?", "--box", "0,0,1,1"], "brackets"),
        (["ask", "IMAGE", "  "], "question is empty"),
        (["ground", "IMAGE", "a dog", ""], "phrase is empty"),
        (["complete", "IMAGE", ""], "prompt is empty"),
        (["caption", "IMAGE", "--max-new-tokens", "0"], "max_new_tokens is 0"),
        (["caption", "IMAGE", "--temperature", "nan"], "temperature is nan"),
        (["caption", "IMAGE", "--beams", "2", "--temperature", "1"], "beam search does not sample"),
        (["caption", "IMAGE", "--stop", ""], "stop is"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_before_a_model_is_loaded(
    monkeypatch, capsys, picture, words, told
):
    monkeypatch.setattr(look, "load", lambda arguments: pytest.fail("loaded"))
    assert main([str(picture) if word == "IMAGE" else word for word in words]) == 64
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.count("\n") == 1
    assert told in shown.err


def header(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and holds nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + bytes(4)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("missing.png", None, 66),
        ("folder", "folder", 65),
        ("empty.jpg", b"", 65),
        ("words.jpg", b"hello, I am no picture", 65),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 65),
        ("cut.png", "cut", 65),
        ("huge.png", header(50_000, 50_000), 65),
        ("strange\n\x1b[31mname.png", None, 66),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_in_one_line(
    monkeypatch, capsys, tmp_path, picture, name, content, code
):
    monkeypatch.setattr(look, "load", lambda arguments: pytest.fail("loaded"))
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content == "cut":
        path.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    elif content is not None:
        path.write_bytes(content)
    assert main(["caption", str(path)]) == code
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("kosmos2: ")
    assert shown.err.count("\n") == 1
    assert "\x1b" not in shown.err
    assert name.rpartition("m")[2] in shown.err


def test_a_folder_is_named_and_loaded(picture, tiny_folder, capsys):
    words = ["caption", str(picture), "--json", *FEW, "--model"]
    assert main([*words, str(tiny_folder)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == str(tiny_folder)
    assert main([*words, str(tiny_folder), "--offline", "--dtype", "bfloat16"]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == document["image"]


def test_a_phrase_is_located_with_its_boxes_and_their_scores(run, picture, tiny_model):
    found = tiny_model.locate(picture, "a dog", best=3)
    code, out, err = run("locate", picture, "a dog", "--best", 3)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"a dog: {found.presence:.0%} there"
    assert [line.split()[-1] for line in lines[2:]] == [f"{b.score:.2f}" for b in found.boxes]
    code, out, err = run("locate", picture, "a dog", "--best", 3, "--json", "--coords", "px")
    document = json.loads(out)
    assert document.pop("file") == str(picture)
    assert document == json.loads(json.dumps(found.to_dict("px", 60, 40)))


def test_a_phrase_is_located_from_closer(run, picture, tiny_model, monkeypatch):
    monkeypatch.setattr(closer, "GLIMPSE", 0.0)
    monkeypatch.setattr(part, "LEAST_PX", 8)
    monkeypatch.setattr(part, "SHARE", 0.9)
    found = tiny_model.locate(picture, "a dog", closer=True)
    assert found != tiny_model.locate(picture, "a dog")
    code, out, _ = run("locate", picture, "a dog", "--closer", "--json")
    document = json.loads(out)
    assert (code, document.pop("file")) == (0, str(picture))
    assert document == json.loads(json.dumps(found.to_dict()))


@pytest.mark.parametrize("kind", ["png", "json"])
def test_what_was_located_is_saved(run, picture, tmp_path, tiny_model, kind):
    place = tmp_path / f"heat.{kind}"
    code, out, err = run("locate", picture, "a dog", "--save", place, "--json")
    assert (code, err) == (0, f"saved {place}\n")
    if kind == "json":
        assert json.loads(place.read_text()) == json.loads(out)
    else:
        with Image.open(place) as drawn:
            assert drawn.size == (60, 40)
            assert drawn.tobytes() != Image.open(picture).tobytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_faint_boxes_are_told_but_not_drawn(run, picture, tmp_path, tiny_model, monkeypatch):
    scores = [box.score for box in tiny_model.locate(picture, "a dog").boxes]
    assert len(scores) > 2
    drawn = []

    def draw(image, answer):
        drawn.append([box.score for box in answer.entities[0].boxes])
        return image

    monkeypatch.setattr(drawing, "draw", draw)
    for faint, count in ((0.0, len(scores)), ((scores[1] + scores[2]) / 2, 2), (1.1, 1)):
        monkeypatch.setattr(look, "FAINT", faint)
        code, out, _ = run("locate", picture, "a dog", "--save", tmp_path / f"{count}.png")
        assert (code, drawn.pop()) == (0, scores[:count])
        assert len(out.splitlines()) == 2 + len(scores)


def test_a_map_is_no_page(run, picture, tmp_path):
    code, _, err = run("locate", picture, "a dog", "--save", tmp_path / "heat.html")
    assert code == 64
    assert ".png, .json" in err


def test_rules_for_boxes_are_settings_like_others(run, picture, tiny_model):
    words = ("--every", "--max-boxes", 2, "--min-score", 0.1, "--no-grammar")
    assert run("caption", picture, *words)[0] == 64
    code, out, _ = run("complete", picture, "<grounding>", *words[:-1], "--json", *FEW)
    answer = tiny_model.complete(
        picture, "<grounding>", every=True, max_boxes=2, min_score=0.1, max_new_tokens=6
    )
    assert code == 0
    assert json.loads(out)["markup"] == answer.markup
