import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from optuna.trial import create_trial

from acdc_seg.cli import tune
from acdc_seg.config import load_config
from acdc_seg.tuning.workers import StudyProgress

SPACE = "optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}\nloss.name: [dice_ce, dice]\n"
TINY = (
    *("--device", "cpu", "train.precision=fp32", "train.batch_size=2", "train.epochs=1"),
    *("model.depth=2", "model.base_channels=4"),
)


@pytest.fixture
def acdc_tune(monkeypatch, capsys, paired_folder):
    """Runs the command in this process on the eight hearts: exit code and both streams."""

    def call(*arguments):
        monkeypatch.setattr(
            sys, "argv", ["acdc-tune", "--data", str(paired_folder), *map(str, arguments)]
        )
        try:
            tune.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.mark.timeout(250)
def test_a_study_says_what_it_does_and_leaves_its_files(acdc_tune):
    Path("space.yaml").write_text(SPACE)
    code, out, err = acdc_tune(
        "--space", "space.yaml", "--trials", 2, "--name", "mine", "--pruner", "none", *TINY
    )
    assert (code, err) == (0, "")
    first, *trials, comparison, wrote, following = out.splitlines()
    assert first == "studies/mine: unet, 2 trials, tpe, none"
    assert [line.split()[:3] for line in trials] == [["trial", "0", "Dice"], ["trial", "1", "Dice"]]
    assert trials[1].endswith("(2/2, 0 s left)")
    assert "recipe" in comparison
    assert wrote == "Wrote studies/mine/best.yaml, trials.csv and report.html"
    assert following == "Next: acdc-train --config studies/mine/best.yaml"
    rows = list(csv.DictReader(Path("studies/mine/trials.csv").read_text().splitlines()))
    best = max(rows, key=lambda row: float(row["dice"]))
    config = load_config("studies/mine/best.yaml")
    assert (repr(config.optimizer.lr), config.loss.name) == (
        best["optimizer.lr"],
        best["loss.name"],
    )
    assert (config.train.epochs, config.runs_dir, config.name) == (1, "runs", None)
    assert (
        yaml.safe_load(Path("studies/mine/runs/trial-0000/config.yaml").read_text())["train"][
            "device"
        ]
        == "cpu"
    )
    code, out, err = acdc_tune(
        "--space",
        "space.yaml",
        "--trials",
        2,
        "--name",
        "mine",
        "--pruner",
        "none",
        *TINY,
        "seed=3",
    )
    assert code == 2
    assert err.startswith(
        "Error: study 'mine' exists with different settings; repeat its options to resume it"
    )
    assert "seed: 0 in the study, 3 here" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--space", "lsos"],
            "--space lsos: no such file, and no space of that name; did you mean 'loss'?",
        ),
        (
            ["--space", "opt"],
            "--space opt: no such file, and no space of that name; did you mean 'optimizer'?",
        ),
        (["--model", "unett"], "model 'unett' is unknown: did you mean 'unet'?"),
        (["--sampler", "tpee"], "--sampler 'tpee' is unknown; did you mean 'tpe'?"),
        (["--pareto", "size"], "--pareto 'size' is unknown; choose from: time, parameters"),
        (
            ["--pareto", "time", "--pruner", "median"],
            "--pareto has two goals: it needs --pruner none",
        ),
        (["--trials", "0"], "--trials 0: at least one trial is needed"),
        (["--name", "a/b"], "--name 'a/b': a study's name is a folder's name, without /"),
        (
            ["--workers", "2", "--storage", "sqlite:///s.db"],
            "--storage sqlite:///s.db with --workers 2: SQLite locks its whole file",
        ),
        (
            ["--sampler", "grid", "--space", "unet", "--trials", "99"],
            "--trials 99: the grid has 54 points; give 54 at most",
        ),
        (["optimizer.lrr=1"], "optimizer.lrr: unknown setting; did you mean 'lr'?"),
    ],
)
def test_bad_options(acdc_tune, arguments, message):
    code, _, err = acdc_tune(*arguments)
    assert code == 2
    assert err.startswith(f"Error: {message}")
    assert "Traceback" not in err
    assert not Path("studies").exists()


def test_a_star_marks_only_what_beats_all_trials_of_the_study(make_progress, capsys):
    bar = tune.StudyProgressBar(SimpleNamespace(num_trials=9))
    for previous, scores, stars in (
        (None, [0.5, 0.4, 0.6], 2),
        (0.83, [0.56], 0),
        (0.83, [0.9], 1),
    ):
        bar.show(make_progress(previous, scores))
        assert capsys.readouterr().out.count(" *") == stars


@pytest.fixture
def make_progress():
    def make(previous, scores):
        new = tuple(create_trial(value=score) for score in scores)
        return StudyProgress(len(scores), 9, new, previous, max(scores), None)

    return make


@pytest.mark.timeout(120)
def test_a_study_without_a_complete_trial_names_the_commonest_reasons(acdc_tune):
    Path("space.yaml").write_text("data.size: [[8, 8], [9, 9], [8, 9]]\n")
    arguments = ("--space", "space.yaml", "--sampler", "grid", "--name", "small", *TINY)
    code, _, err = acdc_tune(*arguments)
    assert code == 2
    assert err.startswith("Error: none of 3 trials was completed: 1 failed: ")
    assert "images of 8x8 are too small" in err


@pytest.mark.timeout(120)
def test_settings_on_the_command_line_win_over_the_space(acdc_tune):
    Path("space.yaml").write_text(
        "train.epochs: {low: 20, high: 100}\noptimizer.lr: [0.01, 0.02]\n"
    )
    arguments = ("--space", "space.yaml", "--trials", 1, "--name", "short", *TINY)
    code, out, err = acdc_tune(*arguments)
    assert (code, err) == (0, "")
    assert "train.epochs=1 is set by the command: it is not varied." in out.splitlines()
    assert load_config("studies/short/best.yaml").train.epochs == 1
