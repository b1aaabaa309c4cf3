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
from tiny_runs import resume_run, stop_after, train_run
from two_processes import learn, normalize_bf16, train_double

from acdc_seg.config import dump_yaml, with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.errors import ConfigError
from acdc_seg.evaluation import evaluate
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.stream import read_examples
from acdc_seg.metrics.scores import summarize
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import Run
from acdc_seg.runtime.distributed import check_batch_divides

SCRIPT = Path(__file__).with_name("two_processes.py")
TRAIN = Path(sys.executable).with_name("acdc-train")
TWENTY_STEPS = {"train.epochs": 10, "optimizer.lr": 0.003, "model.dropout": 0.0}
"""Of batches of two images, one for each process."""
ENDED = "Error: another process of this training ended and says why, if it could"
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
    """What each of two processes saw in two_processes.py."""
    folder = tmp_path_factory.mktemp("seen")
    code, _, err = end_of(torchrun(SCRIPT, "parts", folder))
    assert code == 0, err
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_learn_from_a_batch_as_one_does(seen):
    """Double precision and PyTorch's own BatchNorm and dropout as the measure."""
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


def test_an_error_is_printed_by_one_process(seen):
    common, own, again = zip(*(each["first_with"] for each in seen), strict=True)
    assert sorted(common) == [False, True]
    assert own == (True, True)
    assert again == (False, False)


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
            "processes; start 3 processes at most",
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


def assert_same_in_double_precision(config, *, num_batches):
    """Two processes take the steps of one, equal to far below what single precision resolves."""
    path = Path(config.runs_dir).parent / "double.yaml"
    path.write_text(dump_yaml(config))
    process = torchrun(SCRIPT, "train", path, "two")
    losses = train_double(config, "one")
    code, _, err = end_of(process)
    assert code == 0, err
    one, two = (Run(Path(config.runs_dir) / name) for name in ("one", "two"))
    assert len(losses) == num_batches
    assert torch.load(two.folder / "losses.pt", weights_only=True) == pytest.approx(
        losses, abs=1e-9, rel=0
    )
    assert_same_training(two, one, atol=1e-9, loss=1e-6, dice=1e-9)


@pytest.mark.parametrize(("optimizer", "accumulate"), [("adamw", 1), ("sgd", 2)])
def test_two_processes_take_the_steps_of_one(tiny_config, optimizer, accumulate):
    changes = {
        "optimizer.name": optimizer,
        "optimizer.lr": 0.01,
        "model.dropout": 0.3,
        "train.epochs": 10,
        "train.grad_accum_steps": accumulate,
    }
    assert_same_in_double_precision(with_overrides(tiny_config, changes), num_batches=20)


def test_two_processes_thaw_an_encoder_as_one_does(tiny_config, tmp_path):
    weights = tmp_path / "mobilenet_v2.pth"
    torch.save(create_model("deeplab_mobilenet", 3, 4).encoder.state_dict(), weights)
    model = {
        "model.name": "deeplab_mobilenet",
        "model.pretrained": str(weights),
        "model.freeze_encoder": 1,
    }
    assert_same_in_double_precision(
        with_overrides(tiny_config, {**model, "train.epochs": 2}), num_batches=4
    )


def test_two_processes_give_the_run_of_one(tiny_config):
    """With an optimizer whose steps grow with the gradient, as Adam's do not."""
    config = with_overrides(
        tiny_config,
        {**TWENTY_STEPS, "optimizer.name": "sgd", "optimizer.lr": 0.002, "model.dropout": 0.3},
    )
    process = torchrun_training(config, "two")
    _, one = train_run(config, "one", report=True)
    code, out, err = end_of(process)
    assert (code, err) == (0, "")
    two = Run(Path(config.runs_dir) / "two")
    assert_same_training(two, one)

    assert len(re.findall("^epoch", out, re.MULTILINE)) == 10
    assert len(out.splitlines()) == 13
    without_events = [
        {path.name for path in run.folder.iterdir() if "tfevents" not in path.name}
        for run in (two, one)
    ]
    assert without_events[0] == without_events[1]
    assert len(list(two.folder.glob("*tfevents*"))) == 1
    assert {path.name for path in Path(config.runs_dir).iterdir()} == {"one", "two"}

    source = open_source(config.data, prepare_settings=config.prepare)
    predictor = load_predictor(two.folder, device="cpu", precision="fp32")
    rows = evaluate(predictor, read_examples(source.split("val"), predictor), batch_size=2)
    assert summarize(rows).dice == two.read_json()["best_dice"] == load_checkpoint(two.best).dice


def test_one_process_killed_ends_the_other_and_one_alone_can_go_on(tiny_config):
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
    assert err.count(ENDED) == 1
    assert "gloo" not in err

    killed = Run(Path(config.runs_dir) / "killed")
    assert killed.read_json()["status"] == "failed"
    assert killed.read_json()["reason"].startswith("another process of this training ended")
    assert 1 <= load_checkpoint(killed.last).training["epoch"] < 20
    resume_run(config, killed)
    assert_same_training(killed, straight, atol=3e-3)


def test_two_hosts_go_on_with_a_run_of_one_process_until_sigterm_and_one_process_ends_it(
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
    assert out.endswith(f"Stopped; nothing is lost. Go on with: acdc-train --resume {run.folder}\n")
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
    first, *others = re.findall("^Error: .*", err, re.MULTILINE)
    assert (
        first == f"Error: {table}: cannot write this file (Is a directory); check the folder, its "
        "permissions and free space"
    )
    assert all(message.startswith(ENDED) for message in others[:1])
    assert len(others) <= 1
    assert "gloo" not in err
    assert load_checkpoint(run.last).training["epoch"] >= 1
