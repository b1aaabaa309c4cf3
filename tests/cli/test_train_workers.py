"""The loader's processes, seen from the commands: they change nothing, and their faults are
told.
"""

import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from acdc_seg.cli.train import TrainProgress
from acdc_seg.data import examples as cache
from acdc_seg.runs.checkpoint import load_checkpoint

WITH_WORKERS = ("data.num_workers=2", "train.checkpoint_interval_s=0")


@pytest.fixture
def after_epoch(monkeypatch):
    """Does something in the training process at the end of an epoch."""

    def hook(number, act):
        def on_epoch_end(self, epoch, dice):
            if epoch == number:
                act()

        monkeypatch.setattr(TrainProgress, "on_epoch_end", on_epoch_end)

    return hook


@pytest.mark.timeout(300)
def test_neither_workers_nor_the_place_of_images_change_the_result(command, paired_folder, tiny):
    settings = ("augment.repeats=2", "model.dropout=0.2", "train.keep_last=true")
    arguments = ("train", "--data", paired_folder, *tiny, *settings)
    ways = {
        "plain": (0, "memory"),
        "one": (1, "disk"),
        "two": (2, "none"),
        "mapped": (0, "disk"),
        "anew": (0, "none"),
        "both": (2, "memory"),
    }
    results = {}
    for name, (num_workers, place) in ways.items():
        assert (
            command(
                *arguments, "--name", name, f"data.num_workers={num_workers}", f"data.cache={place}"
            ).code
            == 0
        )
        results[name] = outcome_of(command, name, paired_folder)
    for name in ways:
        assert results[name] == results["plain"], name
    assert command(*arguments, "--name", "other", "--seed", 1).code == 0
    other = outcome_of(command, "other", paired_folder)
    assert [ours == theirs for ours, theirs in zip(other, results["plain"], strict=True)] == [
        False,
        False,
        False,
    ]


def outcome_of(command, name, folder):
    """Weights of best.pt and last.pt and the submission, as bytes."""
    assert (
        command("submit", "--runs", f"runs/{name}", "--data", folder, "--out", f"{name}.csv").code
        == 0
    )
    kept = [load_checkpoint(Path("runs", name, file)).weights for file in ("best.pt", "last.pt")]
    weights = [{key: value.numpy().tobytes() for key, value in each.items()} for each in kept]
    return [*weights, Path(f"{name}.csv").read_bytes()]


@pytest.mark.timeout(300)
def test_images_that_do_not_fit_into_memory_are_told_and_change_nothing(
    command, paired_folder, tiny, monkeypatch
):
    settings = (*tiny, "train.keep_last=true")
    assert command("train", "--data", paired_folder, *settings, "--name", "fits").code == 0
    monkeypatch.setattr(cache, "available_memory", lambda: 100_000)
    outcome = command(
        "train",
        *("--data", paired_folder, *settings, "--name", "tight", "train.log_images_interval=1"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert (
        "The images would take 0.07 MB of memory: they are kept on disk instead.\n" in outcome.out
    )
    assert outcome_of(command, "tight", paired_folder) == outcome_of(command, "fits", paired_folder)


def assert_no_workers():
    gc.collect()  # of the frames that an error went through, some are in cycles
    assert not multiprocessing.active_children()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:200]),
            "not a readable image (200 bytes, truncated or damaged)",
        ),
        (Path.unlink, "cannot read the file (No such file or directory)"),
    ],
    ids=["truncated", "gone"],
)
def test_a_file_spoiled_between_epochs_is_named(
    command, after_epoch, paired_folder, tiny, spoil, message, num_workers
):
    image = paired_folder / "train" / "image" / "patient002_1.png"
    after_epoch(1, lambda: spoil(image))
    outcome = command(
        "train",
        "--data",
        paired_folder,
        *tiny,
        "--epochs",
        9,
        "data.cache=none",
        f"data.num_workers={num_workers}",
    )
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {image}: {message}; ")
    assert "Traceback" not in outcome.err
    assert "worker" not in outcome.err
    assert_no_workers()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_file_spoiled_between_epochs_is_not_missed_where_it_was_kept(
    command, after_epoch, paired_folder, tiny, place
):
    image = paired_folder / "train" / "image" / "patient002_1.png"
    after_epoch(1, lambda: image.write_bytes(image.read_bytes()[:200]))
    outcome = command(
        "train",
        "--data",
        paired_folder,
        *tiny,
        "--epochs",
        3,
        f"data.cache={place}",
        "data.num_workers=2",
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert_no_workers()


@pytest.mark.timeout(300)
def test_a_killed_worker_ends_the_run_with_the_remedy(command, after_epoch, paired_folder, tiny):
    after_epoch(1, lambda: multiprocessing.active_children()[0].kill())
    outcome = command("train", "--data", paired_folder, *tiny, "--epochs", 9, *WITH_WORKERS)
    assert outcome.code == 2
    assert re.match(
        r"Error: a loader process was lost \(DataLoader worker \(pid.*\d+\) (is killed by signal: "
        r"Killed|exited)",
        outcome.err,
    )
    assert "set data.num_workers lower, or to 0" in outcome.err
    assert "Traceback" not in outcome.err
    assert load_checkpoint(Path("runs/unet/last.pt")).training["epoch"] >= 0
    assert_no_workers()


@pytest.mark.timeout(300)
def test_ctrl_c_in_a_terminal_leaves_the_workers_to_the_training_process(paired_folder, tiny):
    """A terminal sends Ctrl-C to all processes of the command."""
    code = "from acdc_seg.cli.train import main; main()"
    arguments = (
        "--data",
        str(paired_folder),
        *tiny,
        "--epochs",
        "900",
        *WITH_WORKERS,
        "data.cache=none",
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch"))
        workers = psutil.Process(process.pid).children()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert err.splitlines() == [
        "Stopping after this step to write the checkpoint; press Ctrl-C again to quit at once."
    ]
    assert len(workers) == 2
    assert not any(worker.is_running() for worker in workers)
    assert load_checkpoint(Path("runs/unet/last.pt")).training["epoch"] >= 1
