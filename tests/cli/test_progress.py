from types import SimpleNamespace

import pytest

from acdc_seg.cli import progress as cli_progress
from acdc_seg.cli.progress import TrainProgress, duration
from acdc_seg.config import load_config

HISTORY = """epoch,lr,train_loss,val_loss,dice,dice_rv,dice_myo,dice_lv,seconds
1,0.002,1.5,1.25,0.25,0.1,0.2,0.45,60
"""


class Clock:
    """Time that passes when a test says so."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(cli_progress, "time", made)
    return made


@pytest.fixture
def progress(clock, tmp_path):
    made = TrainProgress(load_config(overrides=["train.epochs=10"]), SimpleNamespace())
    made.run = SimpleNamespace(folder=tmp_path)
    (tmp_path / "history.csv").write_text(HISTORY)
    return made


def test_the_length_is_announced_in_time_and_lines_follow_inside_a_long_epoch(
    progress, clock, capsys
):
    """Steps of two seconds; the first one takes three."""
    clock.now += 3
    progress.on_batch(1, 1, 50, 2.5)
    assert capsys.readouterr().out == ""
    clock.now += 2
    progress.on_batch(1, 2, 50, 2.25)
    said = capsys.readouterr().out  # 498 steps are left
    assert said == "It will take about 17 minutes: 10 epochs of 50 batches.\n"
    for batch in range(3, 40):
        clock.now += 2
        progress.on_batch(1, batch, 50, 2.0)
    assert capsys.readouterr().out.splitlines() == [
        "  in epoch 1, batch 15/50, loss 2.0000, 0:16:10 left",
        "  in epoch 1, batch 30/50, loss 2.0000, 0:15:40 left",
    ]


def test_a_slow_first_step_is_announced_at_once(progress, clock, capsys):
    clock.now += 9
    progress.on_batch(1, 1, 50, 2.5)
    assert capsys.readouterr().out == "It will take about 75 minutes: 10 epochs of 50 batches.\n"


def test_short_trainings_say_nothing_in_between(progress, clock, capsys):
    for batch in range(1, 51):
        clock.now += 0.02
        progress.on_batch(1, batch, 50, 2.0)
    clock.now += 5
    progress.on_batch(10, 49, 50, 2.0)
    assert capsys.readouterr().out == ""


def test_a_line_for_an_epoch_below_its_columns(progress, clock, capsys):
    clock.now += 60
    progress.on_batch(1, 1, 1, 1.5)
    progress.on_epoch_end(1, 0.25)
    progress.on_epoch_end(1, 0.25)
    header, best, same = capsys.readouterr().out.splitlines()[-3:]
    assert header == (
        "       epoch    loss    Dice        rv     myo      lv       lr     time     left   "
        "* best so far"
    )
    assert best == (
        "epoch   1/10  1.5000  0.2500 *  0.1000  0.2000  0.4500  2.0e-03  0:01:00  0:09:00"
    )
    assert same == best.replace("*", " ")
    assert len(header) <= 100


def test_classes_that_do_not_fit_are_left_out(progress, clock, capsys, tmp_path):
    progress.names = tuple(f"class{number}" for number in range(12))
    names = ",".join(f"dice_{name}" for name in progress.names)
    (tmp_path / "history.csv").write_text(
        f"epoch,lr,train_loss,dice,{names}\n1,0.002,1.5,0.25{',0.5' * 12}\n"
    )
    progress.on_epoch_end(1, 0.25)
    header, _ = capsys.readouterr().out.splitlines()
    assert header.split()[:6] == ["epoch", "loss", "Dice", "lr", "time", "left"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(40, "40 seconds"), (480, "8 minutes"), (5000, "83 minutes"), (12600, "3.5 hours")],
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text
