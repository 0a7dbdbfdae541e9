"""The report of a run: made of its folder alone, true to its log, safe with any words."""

import json
import logging
import re

import pytest

from kosmos2.errors import DataError
from kosmos2.train.watching.curves import Curve, Stretch, chart, tone
from kosmos2.train.watching.record import Record, settings
from kosmos2.train.watching.report import Reporter, html_of, write_report
from kosmos2.train.watching.watcher import Run
from runs import EVIL, RECIPE, Page, Place, held_out, run_folder


@pytest.fixture
def folder(tmp_path):
    return run_folder(tmp_path / "run")


def page_of(folder) -> Page:
    page = Page(write_report(folder).read_text())
    assert page.open == []
    return page


def test_a_report_tells_what_was_found_before_and_after(folder):
    text = page_of(folder).text
    assert "tiny two stages of nothing finished, 100 steps" in text
    assert "50.0% → 100.0% of 2 held-out phrases found" in text
    assert "0.500 → 0.950 mean IoU" in text
    assert "3 → 2 loss of the last stage" in text
    assert "a dog 0.00 → 0.90" in text
    assert "before" in text
    assert "after step 100" in text
    assert "560 rows learnt from" in text  # 40 steps of 8, 60 of 4
    assert "state " + "ab" * 32 in text


def test_it_can_be_made_again_from_the_folder_alone_and_is_the_same(folder):
    first = write_report(folder).read_bytes()
    (folder / "report.html").unlink()
    assert write_report(folder).read_bytes() == first


def test_it_asks_for_nothing_and_runs_nothing(folder):
    page = page_of(folder)
    assert page.asks_for() == []
    policy = next(one["content"] for _, one in page.tags if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:;")
    text = (folder / "report.html").read_text()
    assert set(re.findall(r"url\((.{10})", text)) == {"data:image"}
    assert "@import" not in text
    # The names of SVG's own language are the only addresses.
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_words_of_the_data_stay_words(tmp_path):
    folder = run_folder(tmp_path / "run", phrase=EVIL)
    (folder / "recipe.toml").write_text(RECIPE.replace('"tiny"', json.dumps(EVIL[:-2])))
    (folder / "bad_batch.json").write_text(
        json.dumps({"stage": EVIL, "step": 7, "loss": "nan", "rows": [EVIL]})
    )
    line = {"stage": EVIL, "step": 100, "whole": 101, "report": {EVIL: 1.0}, "bad_rows": [EVIL]}
    with (folder / "log.jsonl").open("a") as file:
        file.write("\n" + json.dumps(line) + "\n" + json.dumps({**line, "whole": 102}) + "\n")
    page = page_of(folder)
    assert page.asks_for() == []
    assert "b" not in {tag for tag, attributes in page.tags if attributes.get("class") == "stage"}
    assert page.text.count("<script>alert('x')</script>") >= 6
    assert "\x1b" not in page.text
    assert "\x00" not in page.text


def test_a_stopped_run_says_how_far_it_came(tmp_path):
    folder = run_folder(tmp_path / "run", steps=60)
    assert "not finished: step 60 of 100" in page_of(folder).text


def test_a_refused_step_is_the_first_thing_to_see(folder):
    refused = {"stage": "tell", "step": 9, "whole": 49, "loss": "nan", "rows": ["a:1", "b:2"]}
    (folder / "bad_batch.json").write_text(json.dumps(refused))
    text = page_of(folder).text
    assert (
        "Nothing was learnt from step 9 of stage tell: its loss was nan. Its rows: a:1, b:2" in text
    )


def test_bad_rows_are_counted_and_named(folder):
    assert "3 of 563 (0.53%) were left out" in page_of(folder).text
    lines = (folder / "log.jsonl").read_text().splitlines()[:-1]
    named = [json.loads(line) for line in lines]
    named[1]["bad_rows"] = ["rows.jsonl:5: no such picture"]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, named)))
    assert "rows.jsonl:5: no such picture" in page_of(folder).text


def test_a_run_that_went_on_from_earlier_tells_each_step_once(folder):
    again = {"stage": "tell", "step": 20, "whole": 60, "report": {"loss": 0.25}}
    with (folder / "log.jsonl").open("a") as file:
        file.write("\n" + json.dumps(again) + "\n")
    points = Record.read(folder).curve("loss").points
    assert [step for step, _ in points] == [10, 20, 30, 40, 50, 60]
    assert points[-1] == (60.0, 0.25)


@pytest.mark.parametrize("gone", ["recipe.toml", "log.jsonl", "held_out"])
def test_what_is_missing_is_left_out(folder, gone):
    held = folder / gone
    for file in [held] if held.is_file() else list(held.iterdir()):
        file.unlink()
    page_of(folder)


def test_a_recipe_that_is_no_toml_is_shown_as_it_is(folder):
    (folder / "recipe.toml").write_text("[[[ <oops>")
    assert "[[[ <oops>" in page_of(folder).text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"neither log\.jsonl nor recipe\.toml"):
        write_report(tmp_path)


def test_every_setting_of_a_recipe_is_in_the_table(folder):
    told = list(settings(Record.read(folder).recipe))
    assert ("train", "freeze", "vision.*") in told
    assert ("stage see", "steps", "40") in told
    assert ("stage tell", "rate", "0.001") in told
    assert ("data rows <b>.jsonl", "format", "jsonl") in told


def test_the_reporter_keeps_answers_and_writes_at_the_end(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    reporter = Reporter()
    reporter.start(Run(tmp_path, (("see", 40), ("tell", 60))))
    reporter.held_out(held_out(0, right=False))
    reporter.step(Place())
    assert not (tmp_path / "report.html").exists()
    reporter.held_out(held_out(100, right=True))
    reporter.end()
    assert "50.0% → 100.0%" in Page((tmp_path / "report.html").read_text()).text


def test_a_report_that_cannot_be_written_fails_no_run(tmp_path, caplog):
    reporter = Reporter()
    reporter.start(Run(tmp_path / "gone", (("see", 1),)))
    with caplog.at_level(logging.WARNING):
        reporter.end()
    assert "there is no report.html" in caplog.text


def spots(svg: str, name: str) -> list[list[tuple[float, float]]]:
    """The points of the paths of a class, a list for each stroke."""
    found = []
    for path in re.findall(rf'class="{name}"[^>]* d="([^"]*)"', svg):
        for stroke in path.split("M")[1:]:
            pairs = (spot.split() for spot in stroke.split("L"))
            found.append([(float(x), float(y)) for x, y in pairs])
    return found


def test_a_curve_goes_through_its_points():
    points = tuple((float(step), step / 10) for step in range(0, 11))
    (line,) = spots(chart("Loss", [Curve("whole", points)], smooth=False), "bold")
    assert line == [(100.0 * i, pytest.approx(240 * (1 - i / 10), abs=0.06)) for i in range(11)]


def test_the_bold_line_neither_lags_nor_crosses_from_stage_to_stage():
    points = tuple((float(s), 1.0 + s / 100 if s <= 100 else 9.0) for s in range(1, 201))
    drawn = chart("Loss", [Curve("whole", points)], [Stretch("a", 1, 100), Stretch("b", 101, 200)])
    first, second = spots(drawn, "bold")
    assert [spots(drawn, "raw")[0][i] for i in (0, 50, 99)] == [first[i] for i in (0, 50, 99)]
    assert len({y for _, y in second}) == 1
    assert ">a</span>" in drawn
    assert ">b</span>" in drawn


def test_a_wild_value_does_not_flatten_the_rest():
    points = tuple((float(s), 1e6 if s == 50 else 1.0 + s / 1000) for s in range(200))
    heights = [y for _, y in spots(chart("Norm", [Curve("norm", points)], smooth=False), "bold")[0]]
    assert min(heights) >= 0
    assert max(heights) <= 240
    raw = spots(chart("Norm", [Curve("norm", points)]), "raw")[0]
    assert min(y for _, y in raw) == 0.0  # it leaves the plot at its upper edge


def test_long_curves_are_thinned_and_flat_or_short_ones_drawn():
    long = tuple((float(s), 1.0) for s in range(10_000))
    assert len(spots(chart("Loss", [Curve("whole", long)]), "bold")[0]) <= 400
    assert chart("Loss", [Curve("whole", ((1.0, 1.0),))]) == ""
    assert chart("Loss", []) == ""
    Page(chart("Loss", [Curve("whole", ((1.0, 0.0), (2.0, 0.0)))]))


def test_lines_can_be_told_from_a_white_page():
    def light(rgb: str) -> float:
        parts = [int(rgb[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        line = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * line[0] + 0.7152 * line[1] + 0.0722 * line[2]

    for index in range(20):
        darker = tone(index).removeprefix("light-dark(#")[:6]
        assert 1.05 / (light(darker) + 0.05) >= 3


def test_html_of_a_record_needs_no_disk(folder):
    assert html_of(Record.read(folder)) == write_report(folder).read_text()
