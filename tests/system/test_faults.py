"""Trainings whose disk fills up, whose folder loses its permissions or
vanishes.
"""

import resource
import shutil
import subprocess
import sys
import warnings
from contextlib import contextmanager

import pytest
from tiny_runs import assert_same, resume_run, train_into, train_run

from acdc_seg.errors import AcdcError, DataError
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import create_run
from acdc_seg.training.loop import Hooks

STEPWISE = {"train.batch_size": 1, "train.checkpoint_interval_s": 0, "train.epochs": 3}


@pytest.fixture
def straight(tiny_config):
    """The undisturbed run."""
    return train_run(tiny_config, "straight", changes=STEPWISE)[1]


@contextmanager
def largest_file(num_bytes):
    """No file may be longer, as if the disk were full then."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def disturb_at(batch, disturb):
    """A hooks that calls `disturb()` once so many batches are done."""
    done = []

    def on_batch(*args):
        done.append(args)
        if len(done) == batch:
            disturb()

    return Hooks(on_batch=on_batch)


def assert_resumes(config, run, straight):
    """The last checkpoint is whole, needs no other in its place, and leads to the undisturbed
    run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume_run(config, run, changes=STEPWISE)
    assert_same(load_checkpoint(run.last).training, load_checkpoint(straight.last).training)
    assert_same(
        dict(load_checkpoint(run.best).weights), dict(load_checkpoint(straight.best).weights)
    )
    facts = run.read_json()
    assert (facts["status"], facts["reason"]) == ("finished", None)


def test_a_full_disk(tiny_config, straight):
    run = create_run(tiny_config, name="run")
    size = straight.last.stat().st_size
    seen = []

    def fill():
        seen.append(run.last.read_bytes())
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (size // 2, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        )

    with (
        largest_file(resource.RLIM_INFINITY),
        pytest.raises(AcdcError, match=r"runs/run.*: cannot write .*check .*free space"),
    ):
        train_into(run, tiny_config, changes=STEPWISE, hooks=disturb_at(6, fill))
    assert run.last.read_bytes() == seen[0]
    assert not list(run.folder.glob("*.partial")) + list(run.folder.glob(".*.partial"))
    assert run.read_json()["status"] == "failed"
    assert "cannot write" in run.read_json()["reason"]
    assert_resumes(tiny_config, run, straight)


def test_a_folder_that_loses_its_permissions(tiny_config, straight, under_permissions):
    run = create_run(tiny_config, name="run")
    with pytest.raises(AcdcError, match=r"last\.pt: cannot write this file \(Permission denied\)"):
        train_into(
            run, tiny_config, changes=STEPWISE, hooks=disturb_at(6, lambda: run.folder.chmod(0o500))
        )
    run.folder.chmod(0o700)
    assert load_checkpoint(run.last).training["batch"] == 1
    assert_resumes(tiny_config, run, straight)


def test_a_folder_that_is_removed_is_not_recreated(tiny_config):
    run = create_run(tiny_config, name="run")
    with pytest.raises(
        DataError,
        match="run: the run folder was removed while its training ran; start the run again",
    ):
        train_into(
            run,
            tiny_config,
            changes=STEPWISE,
            hooks=disturb_at(6, lambda: shutil.rmtree(run.folder)),
        )
    assert not run.folder.exists()


def test_the_command_says_it_and_fails(tiny_config, tmp_path):
    """A run that is extended on a full disk."""
    _, run = train_run(tiny_config, changes={"train.checkpoint_interval_s": 0})
    before = run.last.read_bytes()
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, "
        "resource.RLIM_INFINITY));"
        "from acdc_seg.cli.train import main; main()"
    )
    arguments = ["--resume", str(run.folder), "--extend-epochs", "9"]
    outcome = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(f"Error: {run.folder}")
    assert "cannot write" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert run.last.read_bytes() == before
    assert load_checkpoint(run.last).epoch == 2
