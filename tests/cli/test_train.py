import csv
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acdc_seg.config import dump_yaml, load_config
from acdc_seg.data import source as sources
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import Run

RUN_FILES = {
    "config.yaml",
    "run.json",
    "history.csv",
    "metrics.csv",
    "metrics.json",
    "best.pt",
    "report.html",
}


def read_history(run: Path) -> list[dict[str, str]]:
    """Rows of history.csv without the clock's column."""
    with (run / "history.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


def read_json(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_run_folder_and_what_is_said(command, paired_folder, tiny):
    outcome = command("train", "--model", "unet", "--data", paired_folder, *tiny)
    assert (outcome.code, outcome.err) == (0, "")
    files = {path.name for path in Path("runs/unet").iterdir()}
    assert files >= RUN_FILES
    assert {name for name in files if name.endswith(".pt")} == {"best.pt"}
    assert any(name.startswith("events.out.tfevents") for name in files)
    folders, rule, first, disk, columns, *epochs, best, following = outcome.out.splitlines()
    assert folders.endswith("masks in mask/ named NAME_mask for NAME, splits train, val, test")
    assert rule.startswith("Patients: patientNNN (e.g. patient001 of patient001_0); ")
    assert disk == "Disk: about 0.07 MB while it trains, 0.04 MB when finished."
    assert " ".join(columns.split()) == "epoch loss Dice rv myo lv lr time left * best so far"
    rows = read_history(Path("runs/unet"))
    for line, row in zip(epochs, rows, strict=True):
        cells = line.replace(" *", "").split()[2:]
        names = ("train_loss", "dice", "dice_rv", "dice_myo", "dice_lv")
        assert cells[:5] == [f"{float(row[name]):.4f}" for name in names]
        assert cells[5] == f"{float(row['lr']):.1e}"
    assert " * " in epochs[0]
    assert first == "runs/unet: unet on paired (4 train, 2 val images, fp32)"
    assert [line.split()[1] for line in epochs] == ["1/2", "2/2"]
    assert best.startswith("Best validation Dice 0.")
    assert best.endswith("Wrote runs/unet/report.html")
    assert (
        following
        == "Next: acdc-evaluate runs/unet, or acdc-submit --runs runs/unet --data DIR --out "
        "submission.csv"
    )
    said = read_json(Path("runs/unet"))
    assert (said["status"], said["data"], said["epochs"]) == ("finished", "paired", 2)
    assert said["num_images"] == {"train": 4, "val": 2}


def test_config_file_of_a_run_repeats_it(command, trained):
    assert (
        command(
            "train", "--config", trained / "config.yaml", "--name", "again", "runs_dir=runs"
        ).code
        == 0
    )
    assert read_history(Path("runs/again")) == read_history(trained)
    assert Path("runs/again/metrics.csv").read_bytes() == (trained / "metrics.csv").read_bytes()


def test_names_are_numbered_and_quoted_where_they_must_be(command, trained, tiny, paired_folder):
    once = ("--data", paired_folder, *tiny, "--epochs", 1)
    assert "\nruns/unet-2: unet on paired" in command("train", *once).out
    outcome = command("train", *once, "--name", "first try")
    assert "Next: acdc-evaluate 'runs/first try', or" in outcome.out
    assert Path("runs/first try/best.pt").is_file()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((), "unet"),
        (("model.depth=2",), "unet"),
        (("--model", "deeplab_drn"), "deeplab_drn"),
        (("model.name=deeplab_drn",), "deeplab_drn"),
    ],
)
def test_without_model_or_config_the_recipe_is_taken(command, monkeypatch, arguments, name):
    given = []
    monkeypatch.setattr(
        "acdc_seg.cli.train._train", lambda config, resume, **options: given.append(config)
    )
    assert command("train", *arguments, "--seed", 3).code == 0
    recipe = load_config(model=name)
    assert given[0].model.name == name
    assert given[0].optimizer == recipe.optimizer
    assert given[0].train == recipe.train
    assert given[0].seed == 3


def test_a_config_file_of_data_keeps_the_recipe_and_says_so(command, monkeypatch):
    configs = []
    monkeypatch.setattr(
        "acdc_seg.cli.train._train", lambda config, resume, **options: configs.append(config)
    )
    Path("cells.yaml").write_text("data: {path: cells}\n")
    outcome = command("train", "--config", "cells.yaml", "--model", "enet")
    assert outcome.out.splitlines() == ["cells.yaml over the recipe of enet."]
    Path("complete.yaml").write_text(dump_yaml(configs[0]))
    assert command("train", "--config", "complete.yaml").out == ""
    assert configs[0] == configs[1] == load_config(model="enet", overrides=["data.path=cells"])


def test_flags_are_names_of_settings_and_overrides_win(command, monkeypatch):
    given = []
    monkeypatch.setattr(
        "acdc_seg.cli.train._train", lambda config, resume, **options: given.append(config)
    )
    flags = (
        "--epochs",
        7,
        "--batch-size",
        3,
        "--lr",
        2e-5,
        "--weight-decay",
        0,
        "--loss",
        "focal",
        "--optimizer",
        "sgd",
    )
    flags += ("--device", "cpu", "--precision", "bf16", "--name", "flags", "--data", "somewhere")
    assert command("train", *flags, "train.epochs=9", "data.size=[32,40]").code == 0
    (config,) = given
    assert (
        config.train.epochs,
        config.train.batch_size,
        config.train.device,
        config.train.precision,
    ) == (9, 3, "cpu", "bf16")
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == (
        "sgd",
        2e-5,
        0,
    )
    assert (config.loss.name, config.name, config.data.size) == ("focal", "flags", (32, 40))
    assert config.data.path == str(Path("somewhere").resolve())


def test_without_data_it_says_that_it_trains_on_the_phantom(command, tiny, monkeypatch):
    monkeypatch.setattr(sources, "PHANTOM_PATIENTS", 5)
    settings = ("prepare.slices=mid", "prepare.size=[32,32]", "augment.preset=none", "--epochs", 1)
    outcome = command("train", *tiny, *settings)
    assert outcome.code == 0
    assert (
        "No --data given: training on the built-in synthetic phantom. Its scores say nothing "
        "about real hearts." in outcome.out
    )
    assert "unet on phantom (" in outcome.out
    assert read_json(Path("runs/unet"))["data"] == "phantom"
    assert "synthetic phantom" in Path("runs/unet/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "epochs"),
    [((), 5), (("train.epochs=2",), 2), (("--config", "mine.yaml"), 3)],
)
def test_a_bare_training_on_the_phantom_takes_minutes(
    command, tiny, monkeypatch, arguments, epochs
):
    """Unless epochs are given; what is chosen is in config.yaml before the schedule is built."""
    configs = []
    monkeypatch.setattr(sources, "PHANTOM_PATIENTS", 5)
    monkeypatch.setattr("acdc_seg.training.estimate.epochs_within", lambda *args, seconds: 5)
    monkeypatch.setattr(
        "acdc_seg.cli.train._train_one",
        lambda config, *args, **options: sys.exit(configs.append(config)),
    )
    Path("mine.yaml").write_text("train: {epochs: 3}\n")
    outcome = command("train", *arguments, "prepare.slices=mid", "prepare.size=[32,32]")
    (config,) = configs
    assert config.train.epochs == epochs
    said = "Training for 5 epochs, about 8 minutes; --epochs 160 is the recipe's full length."
    assert (said in outcome.out) == (epochs == 5)


def test_fewer_threads_where_the_machine_is_busy(command, tiny, paired_folder, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("acdc_seg.runtime.device.idle_threads", lambda most: 2)
    arguments = ("train", "--data", paired_folder, *tiny, "--epochs", 1)
    try:
        torch.set_num_threads(3)
        outcome = command(*arguments)
        said = (
            "\nOther programs keep the CPUs busy: training on 2 of 3 threads; "
            "train.num_threads=3 takes all.\n"
        )
        assert said in outcome.out
        assert read_json(Path("runs/unet"))["num_threads"] == 2
        assert "busy" not in command(*arguments, "train.num_threads=3").out
        assert read_json(Path("runs/unet-2"))["num_threads"] == 3
    finally:
        torch.set_num_threads(before)


def test_volumes_are_cut_on_the_way(command, tiny, tree):
    outcome = command(
        "train", "--data", tree, *tiny, "prepare.slices=mid", "prepare.size=[32,32]", "--epochs", 1
    )
    assert outcome.code == 0
    assert "unet on acdc (4 train, 2 val images" in outcome.out
    assert read_json(Path("runs/unet"))["data_path"] == str(tree)


def test_ctrl_c_stops_with_a_checkpoint_and_resuming_ends_like_the_undisturbed_run(
    command, tiny, paired_folder
):
    arguments = ("--data", str(paired_folder), *tiny, "--epochs", "12")
    code = "from acdc_seg.cli.train import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--name", "broken off"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert (
        "Stopping after this step to write the checkpoint; press Ctrl-C again to quit at once."
        in err
    )
    assert "Traceback" not in err

    run = Path("runs/broken off")
    assert read_json(run)["status"] == "stopped"
    checkpoint = load_checkpoint(run / "last.pt")
    assert checkpoint.training is not None
    assert 1 <= checkpoint.training["epoch"] < 12

    said = "Stopped; nothing is lost. Resume with: "
    (line,) = [line for line in out.splitlines() if line.startswith(said)]
    program, *resume = shlex.split(line.removeprefix(said))
    assert program == "acdc-train"
    resumed = command("train", *resume)
    assert resumed.code == 0
    finished = f"after epoch {checkpoint.training['epoch']}"
    line = resumed.out.splitlines()[2]
    assert line.startswith(f"Resuming {finished}")
    assert line.endswith(" of 12.")
    assert (run / "report.html").is_file()
    assert read_json(run)["status"] == "finished"

    assert command("train", *arguments, "--name", "straight").code == 0
    assert len(read_history(run)) == 12
    assert read_history(run) == read_history(Path("runs/straight"))


def test_a_finished_run_is_extended(command, trained, paired_folder):
    assert (
        command(
            "train",
            "--resume",
            trained,
            "--model",
            "unet",
            "--data",
            paired_folder,
            "--extend-epochs",
            3,
        ).code
        == 0
    )
    assert [row["epoch"] for row in read_history(trained)] == ["1", "2", "3"]
    assert load_config(trained / "config.yaml").train.epochs == 3
    assert load_checkpoint(trained / "last.pt").epoch == 3


def test_a_finished_run_is_not_scored_again(command, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.iterdir()}
    outcome = command("train", "--resume", "unet")  # its name alone
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "runs/unet is finished, 2 epochs; nothing to do.",
        "Next: acdc-train --resume runs/unet --extend-epochs N continues it",
    ]
    assert {path: path.stat().st_mtime_ns for path in trained.iterdir()} == before
    Run(trained).remove_training_state()
    assert command("train", "--resume", trained).out.splitlines() == [
        f"{trained} is finished, 2 epochs; nothing to do."
    ]


def test_a_report_that_fails_costs_a_warning(command, tiny, paired_folder, monkeypatch):
    def fail(*args, **options):
        raise TypeError("boxplot() got an unexpected keyword")

    monkeypatch.setattr("acdc_seg.report.run_page.write_page", fail)
    outcome = command("train", "--data", paired_folder, *tiny)
    assert outcome.code == 0
    assert outcome.err == (
        "Warning: runs/unet: trained and scored, but report.html cannot be written "
        "(TypeError: boxplot() got an unexpected keyword)\n"
    )
    assert "Wrote runs/unet/metrics.csv\n" in outcome.out
    assert read_json(Path("runs/unet"))["status"] == "finished"
    assert json.loads(Path("runs/unet/metrics.json").read_text())["dice"] > 0
    assert not Path("runs/unet/last.pt").exists()


def test_an_interrupt_before_the_first_step_is_one_line(command, paired_folder, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("acdc_seg.data.source.open_source", interrupt)
    outcome = command("train", "--data", paired_folder)
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "Interrupted.\n")


def test_a_damaged_checkpoint_gives_way_with_a_warning(command, trained):
    Run(trained).update_json(status="stopped")
    (trained / "last.pt").rename(trained / "last.previous.pt")
    (trained / "last.pt").write_bytes(b"PK")
    outcome = command("train", "--resume", trained)
    assert outcome.code == 0
    assert outcome.err.startswith(f"Warning: {trained}/last.pt: not a checkpoint, or a damaged one")
    assert outcome.err.endswith(f"\nUsing the one before it: {trained}/last.previous.pt, epoch 2\n")


@pytest.mark.parametrize("arguments", [("--help",), ("--bogus",), ("train.epochs=many",)])
def test_only_the_first_of_several_processes_prints(command, monkeypatch, arguments):
    """Help and mistakes in the settings, which all processes have."""
    alone = command("train", *arguments)
    assert alone.out + alone.err
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in (("0", alone), ("1", replace(alone, out="", err=""))):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert command("train", *arguments) == expected
