"""acdc-experiment: lists, runs, resumes and shows."""

from pathlib import Path

import pytest
from tiny_experiments import RATES


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    path = tmp_path / "rates.yaml"
    path.write_text(f"{RATES}found: The study chose 0.1.\n")
    return path


def test_the_shipped_experiments_are_listed(command):
    outcome = command("experiment", "list")
    assert outcome.code == 0
    assert "Loss functions on DeepLabV3+" in outcome.out
    assert command("experiment").out == outcome.out


def test_a_file_is_run_skipped_and_shown(command, rates, paired_folder):
    words = ("experiment", rates, "--data", paired_folder)
    first = command(*words)
    assert first.code == 0
    assert "experiments/rates: Rates, 2 variants, 2 trainings" in first.out
    assert first.out.count(", seed 0: Dice 0.") == 2
    assert "The study: The study chose 0.1." in first.out
    assert "of one patient, so without an interval" in first.out
    table = Path("experiments/rates/table.md").read_text()
    assert table.count("\n") == 4
    assert "| 0.1 | 0." in table
    again = command(*words)
    assert ", seed 0: Dice" not in again.out
    shown = command("experiment", "show", "rates")
    assert shown.out.splitlines() == again.out.splitlines()[1:]
    assert command("experiment", "show", "experiments/rates").out == shown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loses"], "experiment 'loses' is unknown; did you mean 'losses'?"),
        (["show"], "show takes one name"),
        (["show", "losses"], "experiments/losses/plan.json: no experiment was run here"),
        (["losses", "--name", "a/b"], "a folder's name, without /"),
        (["losses", "loss.name=dice"], "loss.name: every variant sets it"),
        (["losses", "train.epoch=1"], "variant 'Dice': train.epoch: unknown setting"),
        (["transfer"], "this experiment needs model.pretrained=..."),
    ],
)
def test_mistakes_are_told(command, words, message, paired_folder):
    outcome = command("experiment", *words, *([] if "show" in words else ["--data", paired_folder]))
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("experiments").exists()


def test_the_page_says_the_command_and_no_password(command, rates, paired_folder, monkeypatch):
    monkeypatch.setattr("acdc_seg.experiments.sweep.run_experiment", lambda plan, **options: [])
    storage = "postgresql://tuner:secret@db/tuning"
    assert command("experiment", rates, "--data", paired_folder, "--storage", storage).code == 0
    plan = Path("experiments/rates/plan.json").read_text()
    assert f"acdc-experiment {rates} --data {paired_folder}" in plan
    assert "postgresql://tuner@db/tuning" in plan
    assert "secret" not in plan
