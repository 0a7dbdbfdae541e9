"""One line on a terminal, plain lines in a file, whatever the width and whatever the names."""

import io
from itertools import count

import pytest

from kosmos2.train.watching.live import Live, duration, line, short
from kosmos2.train.watching.watcher import Run, Watcher, Watchers, numbers
from runs import EVIL, Place, held_out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock(step: float):
    """Seconds that go by between two looks."""
    ticks = count()
    return lambda: next(ticks) * step


def test_a_wide_terminal_shows_everything_there_is():
    assert line(Place(), 2.5, 120) == (
        "tell  |████████████            |  30 of 60  loss 2.500  12 samples/s  12.3k tokens/s  "
        "38% of peak  1:05 left"
    )


@pytest.mark.parametrize("columns", range(1, 130))
def test_a_line_never_breaks_and_keeps_what_matters_most(columns):
    shown = line(Place(), 2.5, columns)
    assert len(shown) <= columns
    if columns >= 35:
        assert "loss 2.500" in shown
        assert "left" in shown
    # What is left out goes in one order: nothing goes while something less important stays.
    for kept, gone in (("12 samples/s", "% of peak"), ("% of peak", "tokens/s"), ("tokens/s", "|")):
        assert kept in shown or gone not in shown


def test_what_is_not_known_is_not_told():
    place = Place(rows_per_s=None, tokens_per_s=None, share_of_peak=None, left_s=None)
    assert line(place, None) == "tell  30 of 60"


def test_a_terminal_gets_one_line_over_and_over_and_keeps_none():
    screen = Terminal()
    live = Live(screen, columns=lambda: 90, clock=clock(1.0))
    for step in (1, 2, 3):
        live.step(Place(step=step))
    live.end()
    assert "\n" not in screen.getvalue()
    assert screen.getvalue().count("\r\x1b[K") == 4
    assert screen.getvalue().endswith("\r\x1b[K")


def test_a_terminal_is_not_written_to_more_often_than_eyes_can_follow():
    screen = Terminal()
    live = Live(screen, columns=lambda: 90, clock=clock(0.01))
    for step in range(1, 101):
        live.step(Place(step=step))
    assert screen.getvalue().count("\r") <= 11


def test_a_file_gets_a_plain_line_every_quarter_of_a_minute():
    file = io.StringIO()
    live = Live(file, clock=clock(5.0))
    for step in range(1, 10):
        live.step(Place(step=step))
    live.end()
    lines = file.getvalue().splitlines()
    assert [one.split()[1] for one in lines] == ["3", "6", "9"]
    assert "\x1b" not in file.getvalue()
    assert "|" not in file.getvalue()


def test_held_out_figures_are_a_line_that_stays():
    screen = Terminal()
    live = Live(screen, columns=lambda: 90, clock=clock(1.0))
    live.step(Place())
    live.held_out(held_out(1200, right=False))
    assert screen.getvalue().endswith(
        "\r\x1b[Kheld out, after step 1,200: 1 of 2 phrases found (accuracy@0.5 0.500), "
        "mean IoU 0.500\n"
    )


def test_the_loss_shown_follows_that_of_the_stage():
    screen = io.StringIO()
    live = Live(screen, clock=clock(100.0))
    for stage, loss in (("see", 9.0), ("tell", 1.0), ("tell", 2.0)):
        place = Place(stage=stage)
        place.report.loss = loss
        live.step(place)
    assert [text.split("loss ")[1][:5] for text in screen.getvalue().splitlines()] == [
        "9.000", "1.000", "1.100",
    ]  # fmt: skip


def test_names_do_not_steer_the_terminal():
    screen = Terminal()
    live = Live(screen, columns=lambda: 300, clock=clock(1.0))
    live.step(Place(stage=EVIL))
    assert "\x1b[31m" not in screen.getvalue()
    assert "\x00" not in screen.getvalue()


def test_a_terminal_that_goes_away_does_not_end_the_training():
    class Gone(Terminal):
        def write(self, text):
            raise BrokenPipeError

    live = Live(Gone(), clock=clock(1.0))
    live.step(Place())
    live.end()
    Live(None).step(Place())


def test_numbers_and_times_are_short():
    told = [short(float(n)) for n in (0.1234, 9.87, 12.3, 999, 1234, 12345, 1.5e6, 2e9)]
    assert told == ["0.12", "9.9", "12", "999", "1,234", "12.3k", "1.5M", "2.0G"]
    assert [duration(float(s)) for s in (0, 65, 3700, 200_000, -3)] == [
        "0:00", "1:05", "1:01:40", "2 d 7 h", "0:00",
    ]  # fmt: skip


def test_every_finite_number_of_a_report_is_told_by_its_place():
    report = Place().report
    report.kinds["nan"] = float("nan")
    assert dict(numbers(report)) == {
        "loss": 2.5, "words": 1.25, "norm": 0.5, "kinds/find": 0.75,
    }  # fmt: skip
    assert dict(numbers({"loss": 1, "fine": True, "text": "x"})) == {"loss": 1.0}


def test_a_step_is_counted_over_all_stages(tmp_path):
    run = Run(tmp_path, (("see", 40), ("tell", 60)))
    assert (run.steps, run.whole("see", 7), run.whole("tell", 7)) == (100, 7, 47)


def test_all_watchers_hear_the_end_even_if_one_fails():
    heard = []

    class Fails(Watcher):
        def end(self) -> None:
            raise OSError("no room")

    class Hears(Watcher):
        def end(self) -> None:
            heard.append("end")

    with pytest.raises(OSError, match="no room"):
        Watchers(Hears(), Fails(), Hears()).end()
    assert heard == ["end", "end"]
