"""GRIT in every form it comes in: the same rows from tables, shards, the script's file, lines."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exports import (
    CAPTION,
    ROWS,
    downloaded,
    encoded,
    parquet,
    shard,
    tar,
    tsv,
    write,
)  # fmt: skip
from kosmos2.data.mixture import Mixture
from kosmos2.data.readers import files
from kosmos2.data.readers.grit import GritTables
from kosmos2.data.readers.reader import Reader
from kosmos2.data.sample import Sample, Span, Turn
from kosmos2.data.sources import Source, open_source
from kosmos2.data.tolerance import BadRow
from kosmos2.errors import DataError
from kosmos2.geometry import Box

WIRE = Box(0.1, 0.2, 0.5, 0.75, 0.793)
COVER = Box(0.0, 0.0, 1.0, 1.0, 0.675)
FIRST = Turn(
    CAPTION,
    (
        Span(1, 33, (WIRE,), 0.793),
        Span(20, 33, (COVER,), 0.675),
        Span(1, 14, (WIRE, Box(0.5, 0.25, 0.75, 0.5, 0.7)), 0.7, expression=False),
        Span(20, 33, (COVER,), 0.675, expression=False),
    ),
)


def lines(file: Path, *rows: object) -> Path:
    return write(file, "".join(json.dumps(row) + "\n" for row in rows))


def grit_lines(file: Path) -> Path:
    for number, row in enumerate(ROWS):
        write(file.parent / f"{row['key']}.jpg", encoded(number, "JPEG"))
    return lines(file, *ROWS)


def opened(path: Path, pictures: Path | None = None) -> Reader:
    return open_source(Source(path=str(path), pictures=None if pictures is None else str(pictures)))


def every(tmp_path: Path) -> dict[str, Reader]:
    """All forms of the same two rows, recognised by looking."""
    table = parquet(tmp_path / "table" / "coyo_0_snappy.parquet")
    return {
        "parquet": opened(table, tmp_path / "table" / "by_key"),
        "parquets": opened(tmp_path / "table", tmp_path / "table" / "by_key"),
        "webdataset": opened(shard(tmp_path / "tars" / "00000.tar")),
        "tsv": opened(tsv(tmp_path / "tsv" / "output.tsv")),
        "jsonl": opened(grit_lines(tmp_path / "lines" / "grit.jsonl")),
        "downloaded": opened(downloaded(tmp_path / "files" / "00000")),
    }


def test_every_form_gives_the_same_samples(tmp_path: Path) -> None:
    for form, reader in every(tmp_path).items():
        assert len(reader) == 2, form
        samples = [reader.read(row) for row in range(2)]
        assert samples[0].turns == (FIRST,), form
        assert samples[1].turns[0].text == "two dogs", form
        for number, sample in enumerate(samples):
            assert sample.kind == "pair"
            seen = np.array(sample.pictures[0].open())
            assert np.array_equal(seen, np.array(Image.open(io.BytesIO(encoded(number, "JPEG")))))


def test_every_form_names_its_rows_and_none_is_out_of_reach(tmp_path: Path) -> None:
    names = {form: reader.read(1).name for form, reader in every(tmp_path).items()}
    assert names == {
        "parquet": "coyo_0_snappy.parquet:1",
        "parquets": "table/coyo_0_snappy.parquet:1",
        "webdataset": "00000.tar:1",
        "tsv": "output.tsv:2",
        "jsonl": "grit.jsonl:2",
        "downloaded": "00000/000000013.jpg",
    }
    for reader in every(tmp_path).values():
        with pytest.raises(IndexError):
            reader.read(2)


def test_a_reader_that_has_read_is_sent_to_workers_light_and_reads_on(tmp_path: Path) -> None:
    for form, reader in every(tmp_path).items():
        before = reader.read(1)
        sent = pickle.dumps(reader)
        assert len(sent) < 6000, form
        assert b"wire hanger" not in sent, form
        again = pickle.loads(sent).read(1)
        assert (again.name, again.turns) == (before.name, before.turns)


def test_offsets_count_in_the_caption_as_it_stands(tmp_path: Path) -> None:
    """The caption begins with a space: stripping it would move every phrase."""
    for form, reader in every(tmp_path).items():
        turn = reader.read(0).turns[0]
        phrases = [turn.text[span.start : span.end] for span in turn.spans]
        assert phrases[0] == "a wire hanger with a paper cover", form
        assert phrases[2] == "a wire hanger", form


def test_pitfall_5_phrases_within_one_another_are_still_there(tmp_path: Path) -> None:
    """The release has them; which are taught is decided later, when unsure boxes are gone."""
    for reader in every(tmp_path).values():
        spans = [s for s in reader.read(0).turns[0].spans if s.expression]
        assert [(span.start, span.end) for span in spans] == [(1, 33), (20, 33)]


def test_any_path_will_do_for_the_scripts_file(tmp_path: Path) -> None:
    """The released loader reads only what lies in a folder of its authors' name."""
    assert opened(tsv(tmp_path / "grit" / "x.tsv")).read(0).turns == (FIRST,)
    assert open_source(Source(path=str(tmp_path / "grit" / "*.tsv"))).read(0).turns == (FIRST,)


def test_a_caption_with_a_tab_is_still_six_columns(tmp_path: Path) -> None:
    file = tsv(tmp_path / "x.tsv")
    write(file, file.read_text().replace("two dogs", "two\tdogs"))
    assert opened(file).read(1).turns[0].text == "two\tdogs"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("[[[[" * 1000, "too many nested"),
        ("{'phrase': [[0, 3, 0.1, 0.1, 0.1, 0.5, 0.9]]}", "empty"),
        ("{'phrase': [[0, 3, 1.1, 0.1, 1.5, 0.5, 0.9]]}", "outside the picture"),
        ("{'phrase': [[0.5, 3, 0.1, 0.1, 0.2, 0.5, 0.9]]}", "whole numbers"),
        ("{'phrase': [[0, 90, 0.1, 0.1, 0.2, 0.5, 0.9]]}", "beyond the text"),
        ("{'phrase': [[0, 3, 0.1, 0.1, 0.2]]}", "not 5 numbers"),
        ("{'phrase': [[0, 3, 0.1, 0.1, 0.2, nan, 0.9]]}", "malformed"),
        ("__import__('os').system('x')", "malformed"),
        ("{'phrase': 1 if 1 else `ls`}", "no dict of lists"),
        ("[]", "no dict"),
        ("9" * 2**21, "the limit is"),
    ],
)
def test_a_bad_dict_is_a_bad_row_and_runs_nothing(
    tmp_path: Path, wrong: str, complaint: str
) -> None:
    file = tsv(tmp_path / "x.tsv")
    first, _ = file.read_text().split("\n")
    write(file, first.rsplit("\t", 1)[0] + "\t" + wrong)
    with pytest.raises(BadRow, match=complaint) as caught:
        opened(file).read(0)
    assert caught.value.name == "x.tsv:1"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"caption": None}, "has no caption"),
        ({"caption": "  "}, "has no caption"),
        ({"status": "failed_to_download", "error_message": "HTTP 404"}, "HTTP 404"),
        ({"ref_exps": [[0, 3, 0.5, 0.5, 0.5, 0.9, 0.9]]}, "empty"),
        ({"ref_exps": [[0, 3, 0.9, 0.5, 0.5, 0.9, 0.9]]}, "inverted"),
        ({"ref_exps": [["a", 3, 0.9, 0.5, 0.5, 0.9, 0.9]]}, "invalid literal"),
        ({"ref_exps": 5}, "TypeError"),
        ({"ref_exps": [[0, 3, 0.1, 0.5, 0.5, 0.9, 1.9]]}, "score 1.9"),
    ],
)
def test_a_bad_row_is_told_by_file_and_row(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    members = {"0.jpg": encoded(0, "JPEG"), "0.json": json.dumps(ROWS[1]).encode()}
    members |= {"1.jpg": encoded(0, "JPEG"), "1.json": json.dumps({**ROWS[1], **change}).encode()}
    reader = opened(tar(tmp_path / "s" / "00003.tar", members))
    assert reader.read(0)
    with pytest.raises(BadRow, match=complaint) as caught:
        reader.read(1)
    assert caught.value.name == "00003.tar:1"


def test_boxes_beyond_the_picture_are_clipped(tmp_path: Path) -> None:
    row = {**ROWS[1], "ref_exps": [[0, 3, -0.5, 0.5, 0.5, 1.5, 0.9]], "noun_chunks": []}
    write(tmp_path / "000000013.jpg", encoded(0, "JPEG"))
    reader = opened(lines(tmp_path / "x.jsonl", row))
    assert reader.read(0).turns[0].spans[0].boxes == (Box(0.0, 0.5, 0.5, 1.0, 0.9),)


def test_pictures_of_a_table_are_found_by_id_too_or_stand_in_it(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = parquet(tmp_path / "a.parquet")
    write(tmp_path / "ids" / "42.png", encoded(5))
    assert opened(table, tmp_path / "ids").read(1).pictures[0].source == tmp_path / "ids" / "42.png"
    write(tmp_path / "sharded" / "00000" / "000000013.webp", b"")
    found = opened(table, tmp_path / "sharded").read(1).pictures[0]
    assert found.source == tmp_path / "sharded" / "00000" / "000000013.webp"
    for name, held in (("image", {"bytes": encoded(1), "path": None}), ("jpg", encoded(1))):
        rows = [{"text": "a dog", name: held}]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "b.parquet")
        sample = opened(tmp_path / "b.parquet").read(0)
        assert sample.turns == (Turn("a dog"),)
        assert sample.pictures[0].source == encoded(1)
    with pytest.raises(BadRow, match=r"no picture 000000012\.\* in .*name its folder"):
        opened(table).read(0)


def test_row_groups_are_blocks_and_an_epoch_reads_each_group_once(tmp_path: Path) -> None:
    for number in range(3):
        parquet(tmp_path / f"{number}.parquet", group=3, repeat=4)
    reader = opened(tmp_path, tmp_path / "by_key")
    assert isinstance(reader, GritTables)
    assert list(reader.blocks) == [3, 3, 2] * 3
    read: list[tuple[int, int]] = []
    make = reader.tables.make
    reader.tables.make = lambda group: read.append(group) or make(group)  # type: ignore[func-returns-value]
    mixture = Mixture([reader], [1], seed=3)
    names = {mixture.draw(position).sample.name for position in range(24)}
    assert len(names) == 24
    assert f"{tmp_path.name}/1.parquet:0" in names
    assert sorted(read) == reader.groups


def test_a_table_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no parquet table"):
        opened(write(tmp_path / "a.parquet", b"PAR1 and nothing else"))


def test_only_ordinary_files_of_a_tar_are_read(tmp_path: Path) -> None:
    """A link to a file of this machine is no row, whatever it is called."""
    secret = write(tmp_path / "secret.txt", "secret")
    file = tmp_path / "00000.tar"
    with tarfile.open(file, "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "a.txt"), (tarfile.LNKTYPE, "b.txt")):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, str(secret)
            archive.addfile(header)
        header = tarfile.TarInfo("../../etc/c.txt")
        header.size = 5
        archive.addfile(header, io.BytesIO(b"words"))
        header = tarfile.TarInfo("../../etc/c.png")
        data = encoded(1)
        header.size = len(data)
        archive.addfile(header, io.BytesIO(data))
    reader = opened(file)
    assert len(reader) == 1
    sample = reader.read(0)
    assert sample.turns[0].text == "words"
    assert sample.pictures[0].source == encoded(1)


def test_long_names_and_folders_in_a_tar_are_told_apart(tmp_path: Path) -> None:
    deep = "x" * 150
    members = {f"{folder}/{deep}.{ending}": encoded(n) if ending == "png" else folder.encode()
               for n, folder in enumerate("ab") for ending in ("png", "txt")}  # fmt: skip
    reader = opened(tar(tmp_path / "0.tar", members))
    assert [reader.read(row).turns[0].text for row in range(2)] == ["a", "b"]
    assert [reader.read(row).pictures[0].source for row in range(2)] == [encoded(0), encoded(1)]


def test_a_shard_cut_short_gives_what_is_left_of_it(tmp_path: Path) -> None:
    file = shard(tmp_path / "00000.tar")
    with tarfile.open(file) as archive:
        last = archive.getmembers()[-3]  # the second picture
    write(file, file.read_bytes()[: last.offset_data + last.size // 2])
    reader = opened(file)
    assert reader.read(0).turns == (FIRST,)
    with pytest.raises(BadRow, match="cut short"):
        reader.read(1)
    with pytest.raises(DataError, match="no tar file"):
        opened(write(tmp_path / "x.tar", b"\x1f\x8b" * 600))


def test_what_is_noted_beside_a_shard_saves_reading_its_headers(tmp_path: Path) -> None:
    for number in range(12):
        shard(tmp_path / f"{number:05}.tar")
        write(tmp_path / f"{number:05}_stats.json", {"count": 3, "successes": 2})
    reader = opened(tmp_path)
    assert list(reader.blocks) == [2] * 12
    assert not reader.indexes.kept  # type: ignore[attr-defined]
    assert reader.read(23).name.endswith("00011.tar:1")
    write(tmp_path / "00011_stats.json", {"successes": 3})
    with pytest.raises(BadRow, match="only 2 rows"):
        opened(tmp_path).read(24)


def test_a_row_that_is_too_large_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = opened(shard(tmp_path / "00000.tar"))
    monkeypatch.setattr(files, "MOST_BYTES", 100)
    with pytest.raises(BadRow, match="the limit is 100"):
        reader.read(0)


def test_without_the_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    table = parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'kosmos2\[train\]'"):
        opened(table)


def test_a_mixture_of_forms_is_drawn_from(tmp_path: Path) -> None:
    readers = list(every(tmp_path).values())
    mixture = Mixture(readers, [1.0] * len(readers), seed=1)
    drawn = [mixture.draw(position) for position in range(60)]
    assert {one.source for one in drawn} == set(range(len(readers)))
    assert {type(one.sample) for one in drawn} == {Sample}
