import csv
import json
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from acdc_seg.cli import train as cli_train
from acdc_seg.config import load_config, with_overrides
from acdc_seg.errors import ConfigError
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import create_run
from acdc_seg.training.folds import fold_table, folds_name, train_folds


def read_history(run):
    """Rows of history.csv without the clock's column."""
    with (run / "history.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


def read_json(path):
    return json.loads(path.read_text())


def interrupt_at(monkeypatch, num_batches):
    """Ctrl-C at the end of this batch, counted over all folds."""
    seen = []
    on_batch = cli_train.TrainProgress.on_batch

    def on_batch_or_signal(self, *args):
        on_batch(self, *args)
        seen.append(args)
        if len(seen) == num_batches:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(cli_train.TrainProgress, "on_batch", on_batch_or_signal)


@pytest.mark.timeout(300)
def test_all_folds_stopped_and_resumed_are_the_straight_folds(
    command, tiny, paired_folder, monkeypatch
):
    """The second fold, of one patient, is interrupted in its second epoch; the first trains on that
    patient alone.
    """
    monkeypatch.setattr(
        "acdc_seg.training.finish.write_run_page",
        lambda folder, config, **content: (folder / "report.html").touch(),
    )
    arguments = ("--data", paired_folder, *tiny, "--folds", 2, "--fold", "all")
    straight = command("train", *arguments)
    assert (straight.code, straight.err) == (0, "")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2 * 1 + 3)
        stopped = command("train", *arguments)
    assert stopped.code == 130
    *_, last = stopped.out.splitlines()
    assert last.startswith("Stopped; nothing is lost. Resume with: acdc-train --data ")
    assert Path("runs/unet-2-fold0/report.html").is_file()
    assert read_json(Path("runs/unet-2-fold1/run.json"))["status"] == "stopped"

    _, *again = shlex.split(last.partition("Resume with: ")[2])
    assert again[-2:] == ["--name", "unet-2"]
    resumed = command("train", *again)
    assert resumed.code == 0
    assert "runs/unet-2-fold0: finished before, Dice 0." in resumed.out
    assert resumed.out.splitlines()[-6:-1] == straight.out.splitlines()[-6:-1]
    for fold in range(2):
        ours, theirs = Path(f"runs/unet-2-fold{fold}"), Path(f"runs/unet-fold{fold}")
        assert read_history(ours) == read_history(theirs)
        weights, expected = (load_checkpoint(run / "best.pt").weights for run in (ours, theirs))
        assert all((weights[name] == value).all() for name, value in expected.items())

    assert (
        resumed.out.splitlines()[-1]
        == "Wrote 2 runs, runs/unet-2-fold*. Next: acdc-ensemble runs/unet-2-fold*"
    )
    rows = [
        row
        for fold in range(2)
        for row in read_json(Path(f"runs/unet-fold{fold}/metrics.json"))["images"]
    ]
    assert sorted(row["id"] for row in rows) == [
        f"patient00{patient}_{number}" for patient in (1, 2, 3) for number in (0, 1)
    ]
    pooled = sum(sum(row["dice"].values()) / 3 for row in rows) / 6
    assert straight.out.splitlines()[-2].split()[:4] == ["all", "3", "6", f"{pooled:.4f}"]


def test_no_validation_and_the_commands_after_it(command, tiny, paired_folder):
    outcome = command("train", "--data", paired_folder, *tiny, "--no-validation")
    assert (outcome.code, outcome.err) == (0, "")
    _, _, first, _, columns, *epochs, done, following = outcome.out.splitlines()
    assert columns.split() == ["epoch", "loss", "lr", "time", "left"]
    assert first == "runs/unet: unet on paired (6 train, 0 val images, fp32)"
    assert [line.split()[:2] for line in epochs] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert not any("Dice" in line for line in (*epochs, done))
    assert done == "Trained for 2 epochs; nothing validated them. Wrote runs/unet/report.html"
    assert following.startswith(
        "Next: acdc-evaluate runs/unet --split test, or acdc-submit --runs runs/unet "
    )
    assert (
        "1 patients" in command("evaluate", "runs/unet", "--split", "test", "--device", "cpu").out
    )
    assert (
        command("submit", "--runs", "runs/unet", "--data", paired_folder, "--device", "cpu").code
        == 0
    )
    outcome = command("evaluate", "runs/unet", "--device", "cpu")
    assert outcome.code == 2
    assert "there are no images in split 'val'; choose from: train, test" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "fold"),
    [
        (("--folds", 5, "--fold", 0), 0),
        (("--no-validation",), None),
        (("data.num_folds=4", "data.fold=3"), 3),
        ((), None),
    ],
)
def test_the_flags_are_settings(command, monkeypatch, arguments, fold):
    given = []
    monkeypatch.setattr(
        "acdc_seg.cli.train._train",
        lambda config, resume, **options: given.append(config.data.fold),
    )
    assert command("train", "--data", "somewhere", *arguments).code == 0
    assert given == [fold]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fold", "all"), "set data.num_folds, for example to 5"),
        (("--folds", 5), "needs the fold that validates"),
        (("--folds", 5, "--fold", 5), "fold=5 is not one of 5 folds"),
        (("--folds", 5, "--fold", "every"), "data.fold: got 'every'"),
        (
            ("--folds", 2, "--fold", "all", "--resume", "runs/unet"),
            "leave out --config and --fold all",
        ),
    ],
)
def test_flags_that_make_no_fold(command, arguments, message):
    outcome = command("train", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("runs").exists()


SCORES = (
    {
        "dice": 0.5,
        "classes": {"rv": {"dice_mean": 0.4}, "lv": {"dice_mean": 0.6}},
        "images": [{"patient": "a", "dice": {"rv": 0.4, "lv": 0.6}}],
    },
    {
        "dice": 0.8,
        "classes": {"rv": {"dice_mean": 0.7}, "lv": {"dice_mean": 0.9}},
        "images": [
            {"patient": "b", "dice": {"rv": 0.6, "lv": 1.0}},
            {"patient": "b", "dice": {"rv": 0.8, "lv": 0.8}},
        ],
    },
)


def test_the_table_of_two_folds():
    lines = [line.split() for line in fold_table(SCORES).splitlines()]
    assert lines == [
        ["fold", "patients", "images", "Dice", "rv", "lv"],
        ["0", "1", "1", "0.5000", "0.4000", "0.6000"],
        ["1", "1", "2", "0.8000", "0.7000", "0.9000"],
        ["mean", "0.6500", "0.5500", "0.7500"],
        ["±", "sd", "0.1500", "0.1500", "0.1500"],
        ["all", "2", "3", "0.7000", "0.6000", "0.8000"],
    ]


@pytest.fixture
def config():
    return with_overrides(
        load_config(overrides=["train.epochs=3"]), {"data.num_folds": 2, "data.fold": 0}
    )


def run_folds(config, *, digest="d", leaves=("last.pt", "metrics.json")):
    """Trains all folds with a stand-in that only leaves files; gives fold, folder and whether to
    resume of each call.
    """
    calls = []

    def train_fold(config, source, run, resume):
        run = run or create_run(config, name=config.name)
        run.write_config(with_overrides(config, {"name": None}))
        run.update_json(data_sha256=source.digest(), best_dice=0.5, status="finished")
        for name in leaves:
            (run.folder / name).write_text(json.dumps(SCORES[config.data.fold]))
        calls.append((config.data.fold, run.folder.name, resume))
        return False

    source = SimpleNamespace(digest=lambda: digest, root="data")
    train_folds(config, folds_name(config), open_data=lambda config: source, train_fold=train_fold)
    return calls


def named(config, name):
    return with_overrides(config, {"name": name})


def test_names_are_numbered_and_named_folds_are_resumed(config):
    assert run_folds(config) == [(0, "unet-fold0", False), (1, "unet-fold1", False)]
    assert run_folds(config) == [(0, "unet-2-fold0", False), (1, "unet-2-fold1", False)]
    assert run_folds(named(config, "unet")) == []
    Path("runs/unet-fold1/metrics.json").unlink()
    assert run_folds(named(config, "unet")) == [(1, "unet-fold1", True)]


def test_a_fold_killed_before_its_first_checkpoint_starts_again(config):
    run_folds(named(config, "killed"), leaves=())
    assert run_folds(named(config, "killed")) == [
        (0, "killed-fold0", False),
        (1, "killed-fold1", False),
    ]


def test_folds_of_other_settings_or_data_are_refused(config):
    run_folds(named(config, "a"))
    other = with_overrides(named(config, "a"), {"train.epochs": 5, "optimizer.lr": 0.5})
    with pytest.raises(
        ConfigError,
        match=r"a-fold0: exists with different settings: optimizer\.lr is 0\.001, not 0\.5; "
        r"train\.epochs is 3, not 5",
    ):
        run_folds(other)
    with pytest.raises(ConfigError, match=r"data\.num_folds is 2, not 3"):
        run_folds(with_overrides(named(config, "a"), {"data.num_folds": 3}))
    with pytest.raises(ConfigError, match="a-fold0: was trained on other data than is at data now"):
        run_folds(named(config, "a"), digest="e")


def test_precision_that_was_chosen_by_itself_is_no_other_setting(config):
    run_folds(named(with_overrides(config, {"train.precision": "fp32"}), "a"))
    assert run_folds(named(config, "a")) == []


def test_several_processes_are_refused(command, paired_folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = command("train", "--data", paired_folder, "--folds", 2, "--fold", "all")
    assert outcome.code == 2
    assert "--fold all trains in one process" in outcome.err
