"""Other people's data in every format that is read, written for tests; small, and drawn by lot.

The labelling formats all hold the same `SCENES`, and the GRIT formats the same `ROWS`, so that
reading any of them has to give the same samples.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 32  # pixels
CLASSES = ("cat", "dog", "bird")
Corners = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two outside
# Each picture with what lies on it; nothing on the last.
SCENES: dict[str, list[tuple[str, Corners]]] = {
    "a.png": [("dog", (8, 4, 24, 20)), ("cat", (32, 0, 64, 32)), ("dog", (1, 2, 5, 8))],
    "b.png": [("bird", (0, 0, 64, 32))],
    "c.png": [],
}
CAPTION = " a wire hanger with a paper cover, and a dog"
ROWS: list[dict[str, Any]] = [
    {
        "key": "000000012",
        "clip_similarity_vitb32": 0.3,
        "clip_similarity_vitl14": 0.25,
        "id": 1234567890123,
        "url": "http://nowhere.invalid/a.jpg",
        "caption": CAPTION,
        "width": WIDTH,
        "height": HEIGHT,
        # Offsets are floats in the release; two boxes for one phrase; one phrase within another.
        "noun_chunks": [
            [1.0, 14.0, 0.1, 0.2, 0.5, 0.75, 0.793],
            [20.0, 33.0, 0.0, 0.0, 1.0000001, 1.0, 0.675],
            [1.0, 14.0, 0.5, 0.25, 0.75, 0.5, 0.7],
        ],
        "ref_exps": [
            [1.0, 33.0, 0.1, 0.2, 0.5, 0.75, 0.793],
            [20.0, 33.0, 0.0, 0.0, 1.0000001, 1.0, 0.675],
        ],
    },
    {
        "key": "000000013",
        "clip_similarity_vitb32": 0.3,
        "clip_similarity_vitl14": 0.25,
        "id": 42,
        "url": "http://nowhere.invalid/b.jpg",
        "caption": "two dogs",
        "width": WIDTH,
        "height": HEIGHT,
        "noun_chunks": [[0.0, 8.0, 0.25, 0.25, 0.5, 0.5, 0.9]],
        "ref_exps": [[0.0, 8.0, 0.25, 0.25, 0.5, 0.5, 0.9]],
    },
]


def pixels(seed: int) -> np.ndarray:
    """A picture that no other seed has, uint8 (H W 3)."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def encoded(seed: int, kind: str = "PNG") -> bytes:
    """The same as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(seed)).save(file, kind)
    return file.getvalue()


def write(path: Path, content: Any) -> Path:
    """A file with its folder; bytes and text as they are, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    return path


def pictures(folder: Path) -> None:
    """The pictures of the scenes."""
    for number, name in enumerate(SCENES):
        write(folder / name, encoded(number))


def coco(folder: Path) -> Path:
    """annotations/instances_train.json and images/."""
    pictures(folder / "images")
    annotations: list[dict[str, Any]] = []
    for number, things in enumerate(SCENES.values()):
        for name, (left, top, right, bottom) in things:
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": 100 + number,
                "category_id": 7 + CLASSES.index(name),
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            })  # fmt: skip
    # Official exports list annotations of all pictures mixed up.
    export = {
        "images": [
            {"id": 100 + number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(SCENES)
        ],
        "annotations": annotations,
        "categories": [{"id": 7 + i, "name": name} for i, name in enumerate(CLASSES)],
    }
    write(folder / "annotations" / "instances_train.json", export)
    return folder


def yolo(folder: Path) -> Path:
    """data.yaml, images/train/, labels/train/."""
    pictures(folder / "images" / "train")
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    write(folder / "data.yaml", f"path: .\ntrain: images/train  # pictures\nnames:\n{names}")
    for file, things in SCENES.items():
        lines = [
            f"{CLASSES.index(name)} {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} "
            f"{(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}\n"
            for name, (x1, y1, x2, y2) in things
        ]
        if lines:  # a picture without anything has no file
            write((folder / "labels" / "train" / file).with_suffix(".txt"), "".join(lines))
    return folder


def voc(folder: Path) -> Path:
    """Annotations/*.xml, JPEGImages/."""
    pictures(folder / "JPEGImages")
    for file, things in SCENES.items():
        objects = "".join(
            f"<object><name>{name}</name><part><name>ear</name></part><bndbox><xmin>{x1 + 1}</xmin>"
            f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, (x1, y1, x2, y2) in things
        )
        write(
            (folder / "Annotations" / file).with_suffix(".xml"),
            f"<annotation><filename>{file}</filename><size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>3</depth></size>{objects}</annotation>",
        )
    return folder


def labelstudio(folder: Path, *, brief: bool = False) -> Path:
    """export.json, full or JSON-MIN, and images/."""
    pictures(folder / "images")
    tasks: list[dict[str, Any]] = []
    for number, (file, things) in enumerate(SCENES.items()):
        values = [
            {
                "x": 100 * x1 / WIDTH,
                "y": 100 * y1 / HEIGHT,
                "width": 100 * (x2 - x1) / WIDTH,
                "height": 100 * (y2 - y1) / HEIGHT,
                "rotation": 0,
                "rectanglelabels": [name],
            }
            for name, (x1, y1, x2, y2) in things
        ]
        size = {"original_width": WIDTH, "original_height": HEIGHT}
        address = f"/data/upload/3/0a1b2c3d-{file}"
        if brief:
            tasks.append({"id": number, "image": address, "label": [{**v, **size} for v in values]})
            continue
        result = [{**size, "type": "rectanglelabels", "value": value} for value in values]
        tasks.append({
            "id": number,
            "data": {"image": address},
            "annotations": [{"result": result, "was_cancelled": False}],
        })  # fmt: skip
    write(folder / "export.json", tasks)
    return folder


def jsonl(folder: Path) -> Path:
    """rows.jsonl of our own, and the pictures beside it."""
    pictures(folder)
    lines = []
    for file, things in SCENES.items():
        objects: dict[str, list[Corners]] = {}
        for name, corners in things:
            objects.setdefault(name, []).append(corners)
        size = {"coords": "px", "width": WIDTH, "height": HEIGHT}
        lines.append(json.dumps({"picture": file, "objects": objects, **size}) + "\n")
    return write(folder / "rows.jsonl", "".join(lines))


def parquet(file: Path, *, group: int = 1, repeat: int = 1) -> Path:
    """GRIT's released columns; pictures are by key in the folder `by_key` beside it."""
    import pyarrow
    import pyarrow.parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {**row, "id": row["id"] + n, "key": f"{int(row['key']) + len(ROWS) * n:09}"}
        for n in range(repeat)
        for row in ROWS
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=group)
    for number, row in enumerate(rows):
        picture = encoded(number % len(ROWS), "JPEG")
        write(file.parent / "by_key" / f"{row['key']}.jpg", picture)
    return file


def shard(file: Path, *, txt: bool = True) -> Path:
    """A tar as img2dataset writes it."""
    members: dict[str, bytes] = {}
    for number, row in enumerate(ROWS):
        note = {**row, "status": "success", "error_message": None, "original_width": WIDTH}
        members[f"{row['key']}.jpg"] = encoded(number, "JPEG")
        members[f"{row['key']}.json"] = json.dumps(note).encode()
        if txt:
            members[f"{row['key']}.txt"] = row["caption"].encode()
    return tar(file, members)


def tar(file: Path, members: dict[str, bytes]) -> Path:
    """A tar file of these files."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return file


def tsv(file: Path) -> Path:
    """As GRIT's prepare_grit.py writes it."""
    lines = []
    for number, row in enumerate(ROWS):
        jpeg = encoded(number, "JPEG")
        lists = {"phrase": row["noun_chunks"], "expression_v1": row["ref_exps"]}
        columns = [
            hashlib.md5(jpeg).hexdigest(), row["caption"], base64.b64encode(jpeg).decode(),
            WIDTH, HEIGHT, lists,
        ]  # fmt: skip
        lines.append("\t".join(map(str, columns)))
    return write(file, "\n".join(lines))


def downloaded(folder: Path) -> Path:
    """The shard, unpacked."""
    for number, row in enumerate(ROWS):
        write(folder / f"{row['key']}.jpg", encoded(number, "JPEG"))
        write(folder / f"{row['key']}.json", {**row, "status": "success"})
        write(folder / f"{row['key']}.txt", row["caption"])
    return folder
