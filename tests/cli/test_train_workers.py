"""Faults in the loader's processes, seen from the command."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from acdc_seg.checkpoint import load_checkpoint
from acdc_seg.cli.train import Monitor

WITH_WORKERS = ("data.num_workers=2", "train.save_seconds=0")


@pytest.fixture
def after_epoch(monkeypatch):
    """Does something in the training process at the end of an epoch."""

    def hook(number, act):
        def on_epoch_end(self, epoch, dice):
            if epoch == number:
                act()

        monkeypatch.setattr(Monitor, "on_epoch_end", on_epoch_end)

    return hook


def assert_no_workers():
    assert not multiprocessing.active_children()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "not a readable image (200 bytes, truncated or damaged)"),
        (Path.unlink, "cannot read the file (No such file or directory)"),
    ],
    ids=["truncated", "gone"],
)
def test_a_file_spoiled_between_epochs_is_named(command, after_epoch, paired_folder, tiny, spoil, message, num_workers):
    image = paired_folder / "train" / "image" / "patient002_1.png"
    after_epoch(1, lambda: spoil(image))
    outcome = command("train", "--data", paired_folder, *tiny, "--epochs", 9, "data.cache=none", f"data.num_workers={num_workers}")
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {image}: {message}; ")
    assert "Traceback" not in outcome.err
    assert "worker" not in outcome.err
    assert_no_workers()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_file_spoiled_between_epochs_is_not_missed_where_it_was_kept(command, after_epoch, paired_folder, tiny, place):
    image = paired_folder / "train" / "image" / "patient002_1.png"
    after_epoch(1, lambda: image.write_bytes(image.read_bytes()[:200]))
    outcome = command("train", "--data", paired_folder, *tiny, "--epochs", 3, f"data.cache={place}", "data.num_workers=2")
    assert (outcome.code, outcome.err) == (0, "")
    assert_no_workers()


@pytest.mark.timeout(120)
def test_a_killed_worker_ends_the_run_with_the_remedy(command, after_epoch, paired_folder, tiny):
    after_epoch(1, lambda: psutil.Process().children()[0].kill())
    outcome = command("train", "--data", paired_folder, *tiny, "--epochs", 9, *WITH_WORKERS)
    assert outcome.code == 2
    assert re.match(r"Error: a loader process was lost \(DataLoader worker \(pid.*\d+\) (is killed by signal: Killed|exited)", outcome.err)
    assert "set data.num_workers lower, or to 0" in outcome.err
    assert "Traceback" not in outcome.err
    assert load_checkpoint(Path("runs/unet/last.pt")).training["epoch"] >= 0
    assert_no_workers()


@pytest.mark.timeout(120)
def test_ctrl_c_in_a_terminal_leaves_the_workers_to_the_training_process(paired_folder, tiny):
    """A terminal sends Ctrl-C to all processes of the command."""
    code = "from acdc_seg.cli.train import main; main()"
    arguments = ("--data", str(paired_folder), *tiny, "--epochs", "900", *WITH_WORKERS, "data.cache=none")
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
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == ["Stopping after this step to write the checkpoint; press Ctrl-C again to quit at once."]
    assert len(workers) == 2
    assert not any(worker.is_running() for worker in workers)
    assert load_checkpoint(Path("runs/unet/last.pt")).training["epoch"] >= 1
