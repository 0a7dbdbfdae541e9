"""What labelling programs export: the same pictures in four notations give the same samples."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exports
from exports import CLASSES, HEIGHT, SCENES, WIDTH, encoded, pictures, pixels, write
from kosmos2.data.readers.reader import Reader
from kosmos2.data.readers.voc import tree
from kosmos2.data.sample import Turn
from kosmos2.data.sources import Source, open_source
from kosmos2.data.tolerance import BadRow
from kosmos2.errors import DataError

FORMS = {
    "coco": exports.coco,
    "yolo": exports.yolo,
    "voc": exports.voc,
    "labelstudio": exports.labelstudio,
    "labelstudio min": lambda folder: exports.labelstudio(folder, brief=True),
    "jsonl": exports.jsonl,
}


def opened(path: Path, **settings: Any) -> Reader:
    return open_source(Source(path=str(path), **settings))


def said(turns: tuple[Turn, ...]) -> dict[str, list[tuple[float, ...]]]:
    """Class -> boxes, rounded as percents and halves round."""
    assert all(span.end == len(turn.text) for turn in turns for span in turn.spans)
    return {
        turn.text: [tuple(round(v, 9) for v in box.corners) for box in turn.spans[0].boxes]
        for turn in turns
    }


def expected(file: str) -> dict[str, list[tuple[float, ...]]]:
    told: dict[str, list[tuple[float, ...]]] = {}
    for name, (x1, y1, x2, y2) in SCENES[file]:
        corners = (x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT)
        told.setdefault(name, []).append(tuple(round(value, 9) for value in corners))
    return told


@pytest.mark.parametrize("form", FORMS)
def test_every_export_is_recognised_and_gives_the_same_boxes(form: str, tmp_path: Path) -> None:
    reader = opened(FORMS[form](tmp_path / "export"))
    samples = [reader.read(row) for row in range(len(reader))]
    assert len(samples) == len(SCENES)
    for number, (sample, file) in enumerate(zip(samples, SCENES)):
        assert sample.kind == "objects"
        assert said(sample.turns) == expected(file)
        assert np.array_equal(np.array(sample.pictures[0].open()), pixels(number))
    names = {
        "coco": "export/annotations/instances_train.json:b.png",
        "yolo": "export/images/train/b.png",
        "voc": "export/Annotations/b.xml",
        "labelstudio": "export/export.json:1",
        "labelstudio min": "export/export.json:1",
        "jsonl": "rows.jsonl:2",
    }
    assert samples[1].name == names[form]
    if form != "jsonl":
        assert sorted(reader.classes) == sorted(CLASSES)


@pytest.mark.parametrize("form", FORMS)
def test_readers_are_sent_to_workers(form: str, tmp_path: Path) -> None:
    reader = opened(FORMS[form](tmp_path / "export"))
    again = pickle.loads(pickle.dumps(reader))
    assert [again.read(row) for row in range(3)] == [reader.read(row) for row in range(3)]


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_picture_is_a_bad_row(form: str, tmp_path: Path) -> None:
    folder = FORMS[form](tmp_path / "export")
    reader = opened(folder)
    for picture in tmp_path.rglob("b.png"):
        picture.unlink()
    if form == "yolo":  # its rows are the pictures: then it is noticed when it is opened
        with pytest.raises(DataError, match=r"b\.png"):
            reader.read(1).pictures[0].open()
        return
    with pytest.raises(BadRow, match=r"no picture .*b\.png .*pictures") as caught:
        reader.read(1)
    assert caught.value.name
    assert reader.read(2)


@pytest.mark.parametrize("form", ["coco", "voc", "labelstudio"])
def test_pictures_may_lie_elsewhere(form: str, tmp_path: Path) -> None:
    folder = FORMS[form](tmp_path / "export")
    for picture in list(tmp_path.rglob("*.png")):
        picture.rename(write(tmp_path / "far" / picture.name, b""))
    for settings, readable in (({}, False), ({"pictures": str(tmp_path / "far")}, True)):
        reader = opened(folder, **settings)
        if readable:
            assert reader.read(0)
        else:
            with pytest.raises(BadRow):
                reader.read(0)


# COCO


def edited(folder: Path, **changes: Any) -> Reader:
    """The COCO export with changes to its first annotation."""
    file = exports.coco(folder) / "annotations" / "instances_train.json"
    export = json.loads(file.read_text())
    export["annotations"][0] |= changes
    write(file, export)
    return opened(file)


def test_crowds_are_left_out(tmp_path: Path) -> None:
    assert len(said(edited(tmp_path / "a").read(0).turns)["dog"]) == 2
    assert len(said(edited(tmp_path / "b", iscrowd=1).read(0).turns)["dog"]) == 1


@pytest.mark.parametrize(
    ("bbox", "complaint"),
    [
        ([5, 5, 0, 5], "empty"),
        ([5, 5, -3, 5], "inverted"),
        ([70, 5, 3, 5], "outside"),
        ([1, 2, 3], "finite"),
        (None, "finite"),
    ],
)
def test_a_box_that_is_none_is_a_bad_row_and_the_others_are_fine(
    tmp_path: Path, bbox: Any, complaint: str
) -> None:
    reader = edited(tmp_path, bbox=bbox)
    with pytest.raises(BadRow, match=complaint) as caught:
        reader.read(0)
    assert caught.value.name == "instances_train.json:a.png"
    assert said(reader.read(1).turns) == expected("b.png")


def test_a_box_beyond_the_picture_is_clipped(tmp_path: Path) -> None:
    reader = edited(tmp_path, bbox=[-8, 16, 16, 100])
    assert said(reader.read(0).turns)["dog"][0] == (0.0, 0.5, 0.125, 1.0)


def test_an_unknown_class_is_told_when_the_export_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no COCO export: KeyError"):
        edited(tmp_path, category_id=1234)


def test_splits_are_told_apart_and_training_is_meant(tmp_path: Path) -> None:
    exports.coco(tmp_path)
    for name in ("val2017", "minival"):
        write(
            tmp_path / "annotations" / f"instances_{name}.json",
            {"images": [], "annotations": [], "categories": [{"id": 1, "name": name}]},
        )
    assert len(opened(tmp_path)) == 3
    assert len(opened(tmp_path, split="train")) == 3
    with pytest.raises(DataError, match="no rows"):
        opened(tmp_path, split="val")
    with pytest.raises(DataError, match="no COCO export of split 'test'"):
        opened(tmp_path, split="test")
    (tmp_path / "annotations" / "instances_train.json").unlink()
    with pytest.raises(DataError, match=r"several exports .* its split"):
        opened(tmp_path)


# YOLO


def yolo_of(folder: Path, labels: str, yaml: str = "names: [cat, dog, bird]") -> Reader:
    write(folder / "data.yaml", yaml)
    write(folder / "images" / "a.png", encoded(0))
    write(folder / "labels" / "a.txt", labels)
    return opened(folder)


@pytest.mark.parametrize(
    "names",
    [
        "names: [cat, dog, bird]",
        "names: ['cat', \"dog\", bird]  # comment",
        "names:\n- cat\n- 'dog'\n- bird",
        "names:\n  - cat\n  - dog\n  - bird\nnc: 3",
        "nc: 3\nnames:\n  0: cat\n  1: dog\n  2: bird",
        "names: {0: cat, 1: dog, 2: 'bird'}",
        "names: [cat,\n  dog,\n  bird]\nroboflow:\n  workspace: x",
    ],
)
def test_names_of_classes_in_the_ways_yaml_has(names: str, tmp_path: Path) -> None:
    assert yolo_of(tmp_path, "1 0.5 0.5 0.5 0.5\n", names).classes == CLASSES


def test_polygons_and_scores(tmp_path: Path) -> None:
    labels = "0 0.1 0.2 0.5 0.3 0.2 0.9\n1 0.5 0.5 0.5 0.5 0.75\n\n"
    turns = yolo_of(tmp_path, labels).read(0).turns
    assert said(turns) == {"cat": [(0.1, 0.2, 0.5, 0.9)], "dog": [(0.25, 0.25, 0.75, 0.75)]}
    assert [turn.spans[0].score for turn in turns] == [1.0, 0.75]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("3 0.5 0.5 0.5 0.5", "class 3, there are 3, counted from 0"),
        ("-1 0.5 0.5 0.5 0.5", "class -1"),
        ("0 0.5 0.5 0 0.5", "line 2 .* empty"),
        ("0 1.5 0.5 0.1 0.5", "line 2 .* outside"),
        ("0 0.5 0.5", "3 numbers"),
        ("0 x 0.5 0.5 0.5", "line 2 .* could not convert"),
        ("0 nan 0.5 0.5 0.5", "finite"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(BadRow, match=complaint) as caught:
        yolo_of(tmp_path, f"0 0.5 0.5 0.5 0.5\n{line}").read(0)
    assert caught.value.name.endswith("images/a.png")


def test_an_export_without_a_single_label_is_no_export_of_backgrounds(tmp_path: Path) -> None:
    yolo_of(tmp_path, "0 0.5 0.5 0.5 0.5\n")
    write(tmp_path / "images" / "b.png", encoded(1))
    assert len(opened(tmp_path)) == 2  # one of them has nothing on it
    (tmp_path / "labels" / "a.txt").rename(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"none of the 2 pictures .*labels/a\.txt"):
        opened(tmp_path)


def test_splits_lists_of_pictures_and_plain_class_files(tmp_path: Path) -> None:
    exports.yolo(tmp_path / "a")
    yaml = tmp_path / "a" / "data.yaml"
    write(tmp_path / "a" / "val.txt", "images/train/c.png\n")
    write(yaml, yaml.read_text() + "val: val.txt\ntest: ../images/train\n")
    assert len(opened(tmp_path / "a")) == len(opened(yaml)) == 3
    assert opened(tmp_path / "a", split="val").read(0).name == "a/images/train/c.png"
    assert len(opened(tmp_path / "a", split="test")) == 3
    with pytest.raises(DataError, match="no split 'dev'"):
        opened(tmp_path / "a", split="dev")
    yaml.rename(tmp_path / "a" / "unused")
    write(tmp_path / "a" / "classes.txt", "\n".join(CLASSES))
    again = opened(tmp_path / "a")
    assert again.classes == CLASSES
    assert said(again.read(0).turns) == expected("a.png")


# Pascal VOC


def test_corners_count_from_one_and_the_last_belongs_to_the_box(tmp_path: Path) -> None:
    write(tmp_path / "a.png", encoded(0))
    write(
        tmp_path / "a.xml",
        f"<?xml version='1.0'?><annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height>"
        "</size><object><name> dog </name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        f"<xmax>{WIDTH}</xmax><ymax>{HEIGHT}</ymax></bndbox></object></annotation>",
    )
    reader = opened(tmp_path)
    assert said(reader.read(0).turns) == {"dog": [(0.0, 0.0, 1.0, 1.0)]}
    assert reader.classes == ("dog",)


def test_lists_of_a_split_are_followed(tmp_path: Path) -> None:
    exports.voc(tmp_path)
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "c\na 1\n")
    reader = opened(tmp_path, split="val")
    assert [reader.read(row).pictures[0].source for row in range(2)] == [
        tmp_path / "JPEGImages" / "c.png",
        tmp_path / "JPEGImages" / "a.png",
    ]


BOMB = "<!DOCTYPE a [<!ENTITY b 'bbbbbbbbbb'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>"
FILE = "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]>"


@pytest.mark.parametrize(
    ("xml", "complaint"),
    [
        (f"<?xml version='1.0'?>{BOMB}<annotation>&c;</annotation>".encode(), "document type"),
        (f"{FILE}<annotation>&b;</annotation>".encode(), "document type"),
        (f"<?xml version='1.0' encoding='utf-16'?>{BOMB}<a/>".encode("utf-16"), "codec"),
        # The declaration in ASCII, the rest in a code page in which a DTD looks like nothing.
        (b"<?xml version='1.0' encoding='cp037'?>" + BOMB.encode("cp037"), "codec"),
        (b"<annotation>&undefined;</annotation>", "no XML"),
        (b"<annotation>", "no XML"),
        (b"<annotation/>" + b" " * 2**23, "the limit is"),
    ],
)
def test_files_that_would_harm_are_refused(tmp_path: Path, xml: bytes, complaint: str) -> None:
    exports.voc(tmp_path)
    reader = opened(tmp_path)
    write(tmp_path / "Annotations" / "b.xml", xml)
    with pytest.raises(BadRow, match=complaint) as caught:
        reader.read(1)
    assert caught.value.name.endswith("Annotations/b.xml")


def test_a_declared_encoding_changes_nothing(tmp_path: Path) -> None:
    text = "<?xml version='1.0' encoding='latin-1'?><annotation>é</annotation>"
    assert tree(write(tmp_path / "a.xml", text)).text == "é"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("<width>64</width>", "", "has no <size/width>"),
        ("<width>64</width>", "<width>0</width>", "picture's size"),
        ("<name>bird</name>", "", "has no <name>"),
        ("<xmax>64</xmax>", "<xmax>0</xmax>", "empty"),
        ("<xmax>64</xmax>", "<xmax>wide</xmax>", "could not convert"),
    ],
)
def test_a_bad_annotation_is_a_bad_row(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    file = exports.voc(tmp_path) / "Annotations" / "b.xml"
    assert old in file.read_text()
    write(file, file.read_text().replace(old, new))
    with pytest.raises(BadRow, match=complaint):
        opened(tmp_path).read(1)


# Label Studio


def studio(folder: Path, *tasks: dict[str, Any]) -> Reader:
    pictures(folder)
    return opened(write(folder / "export.json", list(tasks)))


def drawn(**value: Any) -> dict[str, Any]:
    usual = {"x": 25, "y": 25, "width": 25, "height": 50, "rotation": 0}
    value = {**usual, "rectanglelabels": ["dog"], **value}
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    return {**size, "type": "rectanglelabels", "value": value}


def task(*results: dict[str, Any], image: str = "a.png", **answer: Any) -> dict[str, Any]:
    return {"data": {"image": image}, "annotations": [{"result": list(results), **answer}]}


def test_a_turned_rectangle_is_its_bounding_box(tmp_path: Path) -> None:
    """A quarter turn clockwise about the top left corner: 16 x 16 pixels go to the left of it."""
    reader = studio(tmp_path, task(drawn(x=50, rotation=90)), task(drawn(x=50, rotation=360)))
    assert said(reader.read(0).turns) == {"dog": [(0.25, 0.25, 0.5, 0.75)]}
    assert said(reader.read(1).turns) == {"dog": [(0.5, 0.25, 0.75, 0.75)]}


def test_what_is_no_rectangle_is_left_out_and_several_labels_count_each(tmp_path: Path) -> None:
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    polygon = {"type": "polygonlabels", "value": {"points": [[1, 2]], "polygonlabels": ["dog"]}}
    reader = studio(tmp_path, task(choice, polygon, drawn(rectanglelabels=["dog", "pet"])))
    assert list(said(reader.read(0).turns)) == ["dog", "pet"]
    assert reader.classes == ("dog", "pet")


def test_tasks_without_an_answer_are_left_out_and_empty_answers_are_not(tmp_path: Path) -> None:
    unseen = {"data": {"image": "a.png"}, "annotations": []}
    cancelled = task(drawn(), was_cancelled=True)
    two = task(drawn(rectanglelabels=["cat"]))
    two["annotations"] += task(drawn())["annotations"]
    truth = task(drawn(rectanglelabels=["cat"]), ground_truth=True)
    truth["annotations"] += task(drawn())["annotations"]
    reader = studio(tmp_path, unseen, cancelled, task(), two, truth)
    assert [list(said(reader.read(row).turns)) for row in range(3)] == [[], ["dog"], ["cat"]]
    assert reader.read(0).name == "export.json:2"


@pytest.mark.parametrize(
    "image",
    [
        "a.png", "/data/upload/7/01234567-a.png", "/data/local-files/?d=some/where/a.png",
        "s3://bucket/deep/a.png", "https://nowhere.invalid/x/a.png?token=1", "%61.png",
    ],
)  # fmt: skip
def test_pictures_are_found_by_whatever_address(tmp_path: Path, image: str) -> None:
    reader = studio(tmp_path, task(drawn(), image=image))
    assert reader.read(0).pictures[0].source == tmp_path / "a.png"


def test_an_address_without_a_file_is_not_fetched(tmp_path: Path) -> None:
    reader = studio(tmp_path, task(drawn(), image="https://nowhere.invalid/x/z.png"))
    with pytest.raises(BadRow, match="nothing is fetched; download"):
        reader.read(0)


def test_an_empty_rectangle_is_a_bad_row(tmp_path: Path) -> None:
    with pytest.raises(BadRow, match="empty"):
        studio(tmp_path, task(drawn(width=0))).read(0)


def test_other_json_beside_an_export_is_not_taken_for_it(tmp_path: Path) -> None:
    for form in ("coco", "labelstudio"):
        folder = FORMS[form](tmp_path / form)
        for place in {file.parent for file in folder.rglob("*.json")}:
            write(place / "a_note.json", {"info": "nothing"})
        assert len(opened(folder)) == len(SCENES)
