"""No command opens a connection to another machine unless it is asked to."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import socket, sys

def refuse(*args, **kwargs):
    print("a connection:", args[1:], file=sys.stderr)
    raise OSError("no network in this test")

for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse

import acdc_seg.training.loop, acdc_seg.submission.pipeline, acdc_seg.tuning.workers
from acdc_seg.cli import evaluate, submit, train

def run(command, *arguments):
    sys.argv = ["acdc", *arguments]
    try:
        command.main()
    except SystemExit as end:
        assert not end.code, end.code

data, runs = sys.argv[1:]
settings = ["--device", "cpu", "model.depth=2", "model.base_channels=4", "train.batch_size=2"]
run(train, "--data", data, "--epochs", "1", "--name", "a", f"runs_dir={runs}", *settings)
run(evaluate, f"{runs}/a", "--device", "cpu")
run(submit, "--runs", f"{runs}/a", "--data", data, "--device", "cpu", "--out", f"{runs}/s.csv")
"""


def test_importing_training_scoring_and_submitting_need_no_connection(paired_folder, tmp_path):
    environment = {**os.environ, "PYTHONWARNINGS": "error::UserWarning:albumentations"}
    environment.pop("NO_ALBUMENTATIONS_UPDATE", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(paired_folder), str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=250,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "a connection" not in done.stderr
    assert Path(tmp_path / "runs" / "s.csv").is_file()
