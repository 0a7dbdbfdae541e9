"""Curves and pictures for TensorBoard, read back with its own reader."""

import builtins

import numpy as np
import pytest
from PIL import Image

from kosmos2.errors import ConfigError
from kosmos2.train.watching.tensorboard import Board, marked
from kosmos2.train.watching.watcher import Run
from runs import Place, held_out


def read(folder):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = loading.EventAccumulator(str(folder / "tensorboard"), {"images": 0, "scalars": 0})
    return events.Reload()


@pytest.fixture
def run(tmp_path):
    pytest.importorskip("tensorboard")
    return Run(tmp_path, (("see", 40), ("tell", 60)))


def test_losses_by_kind_and_speeds_become_curves_over_the_whole_run(run):
    board = Board(every=10)
    board.start(run)
    for step in range(1, 61):
        board.step(Place(step=step))
    board.end()
    events = read(run.folder)
    assert set(events.Tags()["scalars"]) == {
        "train/loss", "train/words", "train/norm", "train/kinds/find",
        "speed/rows_per_s", "speed/tokens_per_s", "speed/share_of_peak",
    }  # fmt: skip
    points = events.Scalars("train/kinds/find")
    assert [point.step for point in points] == [41, 50, 60, 70, 80, 90, 100]
    assert {point.value for point in points} == {0.75}


def test_held_out_figures_and_pictures_are_there_before_and_after(run):
    board = Board()
    board.start(run)
    board.held_out(held_out(0, right=False))
    board.held_out(held_out(100, right=True))
    board.end()
    events = read(run.folder)
    assert [point.value for point in events.Scalars("held_out/accuracy_at_0.5")] == [0.5, 1.0]
    assert [point.step for point in events.Scalars("held_out/mean_iou")] == [0, 100]
    assert [(one.step, one.width, one.height) for one in events.Images("held_out/00")] == [
        (0, 448, 336), (100, 448, 336),
    ]  # fmt: skip


@pytest.mark.parametrize("files", [0, 9], ids=["first files", "files 9 and 10 of a process"])
def test_a_run_that_goes_on_strikes_out_the_points_that_come_again(run, files, monkeypatch):
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(files))
    for done, last, loss in ((0, 30, 1.0), (20, 40, 2.0)):
        board = Board(every=10)
        board.start(Run(run.folder, run.stages, done))
        for step in range(done + 1, last + 1):
            place = Place(stage="see", step=step, steps=40)
            place.report.loss = loss
            board.step(place)
        board.end()
    points = read(run.folder).Scalars("train/loss")
    assert [(point.step, point.value) for point in points] == [
        (1, 1.0), (10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0),
    ]  # fmt: skip


def test_true_boxes_are_dashed_and_found_ones_whole():
    (answer, _) = held_out(1, right=False).answers
    plain = Image.new("RGB", (100, 100), (128, 128, 128))
    drawn = np.asarray(marked(plain, (answer,))).astype(int)

    def lit(box):
        left, top, right, _ = (round(448 * edge) for edge in box.corners)
        edge = drawn[top - 3 : top + 6, left + 12 : right - 12]
        return (abs(edge - (255, 107, 107)).sum(-1) < 60).any(0).mean()

    assert lit(answer.found) == 1.0
    assert 0.3 < lit(answer.truth[0]) < 0.7


def test_without_tensorboard_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith(("torch.utils.tensorboard", "tensorboard")):
            raise ImportError(f"No module named {name!r}", name="tensorboard")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"tensorboard.*pip install 'kosmos2\[train\]'"):
        Board()
