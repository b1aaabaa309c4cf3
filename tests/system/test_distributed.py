"""Training with torchrun: two processes do what one does, and end together."""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from hearts import tiny_settings, write_paired_folder
from tiny_runs import resume_run, stop_after, train_run
from two_processes import learn, normalize_bf16, train_double

from acdc_seg.config import dump_yaml, with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.errors import ConfigError
from acdc_seg.evaluation import score_examples
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.stream import read_examples
from acdc_seg.metrics.summary import summarize
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import Run
from acdc_seg.runtime.distributed import check_batch_divides

SCRIPT = Path(__file__).with_name("two_processes.py")
TRAIN = Path(sys.executable).with_name("acdc-train")
TWENTY_STEPS = {"train.epochs": 10, "optimizer.lr": 0.003, "model.dropout": 0.0}
"""Of batches of two images, one for each process."""
LOST_PEER = "another process of this training ended"
pytestmark = pytest.mark.timeout(600)


def torchrun(*arguments, launcher=("--standalone", "--nproc_per_node", 2)):
    """A torchrun that has been started, with pipes for what it prints."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *map(str, [*launcher, *arguments])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )


def torchrun_training(config, name):
    """torchrun of acdc-train with these settings, into runs/NAME."""
    path = Path(config.runs_dir).parent / f"{name}.yaml"
    path.write_text(dump_yaml(config))
    return torchrun(TRAIN, "--config", path, "--name", name)


def wait_for(process, start_of_line):
    next(line for line in process.stdout if line.startswith(start_of_line))


def end_of(process):
    """Exit code, what was printed since, and errors."""
    out, err = process.communicate(timeout=500)
    return process.returncode, out, err


def process_of_rank(launcher, rank):
    """Process id of one that torchrun started."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    (found,) = [
        int(child)
        for child in children
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0")
    ]
    return found


def assert_same_training(run, expected, *, atol=2e-4, loss=1e-4, dice=5e-3):
    """Curves and weights of two runs are equal within these bounds: of weights, of losses, and of
    Dice.

    The defaults are for single precision, whose rounding may turn a few pixels of the validation
    images. Adam's steps do not shrink with the gradient: a weight whose gradient is all rounding
    may go another way.
    """
    rows, expected_rows = (
        list(csv.DictReader((each.folder / "history.csv").open())) for each in (run, expected)
    )
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in expected_rows]
    for name in ("lr", "train_loss", "val_loss", "dice", "dice_rv", "dice_myo", "dice_lv"):
        bound = dice if name.startswith("dice") else loss
        assert [float(row[name]) for row in rows] == pytest.approx(
            [float(row[name]) for row in expected_rows], abs=bound, rel=0
        )
    for ours, theirs in ((run.last, expected.last), (run.best, expected.best)):
        weights, expected_weights = load_checkpoint(ours).weights, load_checkpoint(theirs).weights
        assert weights.keys() == expected_weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(
                value, expected_weights[name], atol=atol, rtol=min(1e-3, 5 * atol)
            )


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Results of two_processes.py in each of two processes."""
    folder = tmp_path_factory.mktemp("seen")
    code, _, err = end_of(torchrun(SCRIPT, "parts", folder))
    assert code == 0, err
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_learn_from_a_batch_as_one_does(seen):
    """Double precision, with PyTorch's own BatchNorm as the measure."""
    expected = learn(Accelerator(cpu=True))
    first, second = (each["learned"] for each in seen)
    for name in ("losses", "gradients", "state", "eval"):
        for ours in (first, second):
            torch.testing.assert_close(ours[name], expected[name], atol=1e-10, rtol=0)
    for name in ("logits", "image_gradient"):
        torch.testing.assert_close(
            torch.cat([first[name], second[name]]), expected[name], atol=1e-10, rtol=0
        )


def test_shared_batch_norm_of_bf16_computes_in_fp32(seen):
    expected = normalize_bf16(Accelerator(cpu=True))
    y = torch.cat([each["bf16"]["y"] for each in seen])
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected["y"], atol=0, rtol=2**-8)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(seen[1]["bf16"][name], expected[name], atol=0, rtol=1e-5)


def test_processes_agree(seen):
    for each in seen:
        assert each["any"] == [True, False]
        assert each["on_main_process"] == "process 0 made it"
        assert each["failure"] == "the disk is full"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (15, 100, 2),
            "train.batch_size=15 cannot be divided evenly among 2 processes; set it to 14 or 16",
        ),
        ((2, 100, 3), "train.batch_size=2 cannot be divided evenly among 3 processes; set it to 3"),
        (
            (16, 7, 2),
            "train.batch_size=16, at most the 7 training images, cannot be divided evenly among 2 "
            "processes; set it to 6",
        ),
        (
            (16, 3, 4),
            "train.batch_size=16, at most the 3 training images, cannot be divided evenly among 4 "
            "processes; use at most 3 processes",
        ),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(sizes, message):
    with pytest.raises(ConfigError) as refusal:
        check_batch_divides(*sizes)
    assert str(refusal.value) == message


@pytest.mark.parametrize("sizes", [(16, 100, 1), (16, 7, 1), (16, 100, 4), (16, 6, 3)])
def test_batches_that_can_be_shared_are_taken(sizes):
    check_batch_divides(*sizes)


FROZEN = {"model.name": "deeplab_mobilenet", "model.freeze_encoder": 1}
CASES = {
    "batch_norm": {"optimizer.name": "adamw", "optimizer.lr": 0.01, "train.epochs": 10},
    "accumulation": {"optimizer.name": "sgd", "train.grad_accum_steps": 2, "train.epochs": 4},
    "drop_connect": {
        "model.name": "effunet",
        "model.variant": "b0",
        "model.drop_connect": 0.0,
        "train.epochs": 1,
    },
    "branches": {"model.name": "esnet", "train.epochs": 1},
    "thawed_encoder": {**FROZEN, "optimizer.name": "sgd", "train.epochs": 2},
    "validation": {
        "data.num_folds": 2,
        "data.fold": 0,
        "train.batch_size": 2,
        "train.epochs": 2,
        "train.log_images_interval": 2,
    },
}
"""Settings of a training each; no dropout, which every process draws for itself."""


@pytest.fixture(scope="module")
def double_configs(tmp_path_factory):
    """The config of every case, and a run of each that two processes trained."""
    folder = tmp_path_factory.mktemp("double")
    weights = folder / "mobilenet_v2.pth"
    torch.save(create_model("deeplab_mobilenet", 3, 4).encoder.state_dict(), weights)
    base = tiny_settings(write_paired_folder(folder / "hearts"), folder / "two")
    configs = {}
    for name, changes in CASES.items():
        pretrained = {"model.pretrained": str(weights)} if "model.freeze_encoder" in changes else {}
        configs[name] = with_overrides(base, {**changes, **pretrained})
        (folder / f"{name}.yaml").write_text(dump_yaml(configs[name]))
    code, _, err = end_of(torchrun(SCRIPT, "train", folder, *CASES))
    assert code == 0, err
    return configs


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_steps_of_one_without_dropout(double_configs, case, tmp_path):
    """Same batches, same loss of the whole batch, BatchNorm over all of it: equal to far below
    what single precision resolves.
    """
    config = double_configs[case]
    two = Run(Path(config.runs_dir) / case)
    losses, _ = train_double(with_overrides(config, {"runs_dir": str(tmp_path)}), "one")
    assert len(losses) == config.train.epochs * (1 if case == "validation" else 2)
    for rank in (0, 1):
        ours, _ = torch.load(two.folder / f"seen_{rank}.pt", weights_only=True)
        assert ours == pytest.approx(losses, abs=1e-9, rel=0)
    assert_same_training(two, Run(tmp_path / "one"), atol=1e-9, loss=1e-6, dice=1e-9)


def test_each_process_validates_its_share(double_configs):
    """Two batches of two images in each of two epochs; the first process draws two as well."""
    run = Run(Path(double_configs["validation"].runs_dir) / "validation")
    predicted = [
        torch.load(run.folder / f"seen_{rank}.pt", weights_only=True)[1] for rank in (0, 1)
    ]
    assert predicted == [2 * 2 + 4, 2 * 2]


def test_two_processes_give_the_run_of_one(tiny_config):
    """With an optimizer whose steps grow with the gradient, as Adam's do not."""
    config = with_overrides(
        tiny_config,
        {**TWENTY_STEPS, "optimizer.name": "sgd", "optimizer.lr": 0.002},
    )
    process = torchrun_training(config, "two")
    _, one = train_run(config, "one", finish=True)
    code, out, err = end_of(process)
    assert (code, err) == (0, "")
    two = Run(Path(config.runs_dir) / "two")
    assert_same_training(two, one)

    assert len(re.findall("^epoch", out, re.MULTILINE)) == 10
    lines = out.splitlines()
    assert len(lines) == 17  # two on the data, three before the epochs, ten, two at the end
    assert len(set(lines)) == len(lines)  # one process alone prints
    without_events = [
        {path.name for path in run.folder.iterdir() if "tfevents" not in path.name}
        for run in (two, one)
    ]
    assert without_events[0] == without_events[1]
    assert len(list(two.folder.glob("*tfevents*"))) == 1
    assert {path.name for path in Path(config.runs_dir).iterdir()} == {"one", "two"}

    source = open_source(config.data, prepare_settings=config.prepare)
    predictor = load_predictor(two.folder, device="cpu", precision="fp32")
    rows = score_examples(predictor, read_examples(source.split("val"), predictor), batch_size=2)
    assert summarize(rows).dice == two.read_json()["best_dice"] == load_checkpoint(two.best).dice


def test_one_process_killed_ends_the_other_and_one_alone_can_resume(tiny_config):
    config = with_overrides(
        tiny_config,
        {
            **TWENTY_STEPS,
            "train.epochs": 20,
            "train.grad_accum_steps": 2,
            "train.checkpoint_interval_s": 0,
        },
    )
    process = torchrun_training(config, "killed")
    wait_for(process, "epoch   2")
    os.kill(process_of_rank(process, 1), signal.SIGKILL)
    _, straight = train_run(config, "straight")
    code, _, err = end_of(process)
    assert code != 0
    assert LOST_PEER in err
    assert "gloo" not in err

    killed = Run(Path(config.runs_dir) / "killed")
    assert killed.read_json()["status"] == "failed"
    assert killed.read_json()["reason"].startswith("another process of this training ended")
    assert 1 <= load_checkpoint(killed.last).training["epoch"] < 20
    resume_run(config, killed)
    assert_same_training(killed, straight, atol=3e-3)


@pytest.mark.slow
def test_two_hosts_resume_the_run_of_one_process_and_one_process_ends_it(
    tiny_config,
):
    config = with_overrides(tiny_config, {**TWENTY_STEPS, "train.epochs": 20})
    _, run = train_run(config, "moved", hooks=stop_after(7))
    assert load_checkpoint(run.last).training["batch"] == 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = [
        torchrun(
            *(TRAIN, "--resume", run.folder),
            launcher=(
                "--nnodes",
                2,
                "--node_rank",
                rank,
                "--nproc_per_node",
                1,
                "--master_addr",
                "127.0.0.1",
                "--master_port",
                port,
            ),
        )
        for rank in (0, 1)
    ]
    _, straight = train_run(config, "straight")
    wait_for(hosts[0], "epoch   6")
    hosts[0].send_signal(signal.SIGTERM)
    (code, out, err), (other_code, other_out, _) = map(end_of, hosts)
    assert 0 not in (code, other_code)
    assert other_out == ""
    assert out.endswith(
        f"Stopped; nothing is lost. Resume with: acdc-train --resume {run.folder}\n"
    )
    assert err.count("Stopping after this step to write the checkpoint") == 1
    assert run.read_json()["status"] == "stopped"
    assert 6 <= load_checkpoint(run.last).training["epoch"] < 20
    resume_run(config, run)
    assert_same_training(run, straight, atol=3e-3)


def test_what_the_first_process_cannot_write_ends_all(tiny_config):
    config = with_overrides(tiny_config, {"train.epochs": 1000, "train.checkpoint_interval_s": 0})
    process = torchrun_training(config, "unwritable")
    wait_for(process, "epoch")
    run = Run(Path(config.runs_dir) / "unwritable")
    table = run.folder / "history.csv"
    table.unlink()
    table.mkdir()
    code, _, err = end_of(process)
    assert code != 0
    (first,) = re.findall("^Error: .*", err, re.MULTILINE)
    assert first == (
        f"Error: {table}: cannot write this file (Is a directory); check the folder, its "
        "permissions and free space"
    )
    assert "gloo" not in err
    assert load_checkpoint(run.last).training["epoch"] >= 1
