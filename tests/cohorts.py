"""Exams and a model for worker processes, which import this file."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import torch

from acdc_seg.config import load_config
from acdc_seg.data.exams import Exam, ExamImages, find_exams
from acdc_seg.models import build_model
from acdc_seg.prediction.model import ModelSettings
from acdc_seg.runs.checkpoint import Checkpoint, save_checkpoint


def write_model(path: Path, *, seed: int = 0) -> ModelSettings:
    """A tiny U-Net that nobody trained."""
    config = load_config(overrides=["model.depth=2", "model.base_channels=4"])
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        model = build_model(config.model, 1, len(config.classes.names))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, Checkpoint(config, model.state_dict(), epoch=1, dice=None, data="none"))
    return ModelSettings(path, device="cpu", precision="fp32")


def find_watched(folder: Path, log: Path, **places: str) -> list[Exam]:
    """The exams of a folder; a worker that reads one writes that to a log.

    Args:
        folder: With NIfTI files.
        log: A line per reading: the exam and the process.
        places: What happens at an exam, by its id: "wait" for the file `log.go`, or "die".
    """
    return [
        Exam(exam.id, exam.paths, partial(read_watched, exam, log, places.get(exam.id, "")))
        for exam in find_exams([folder])
    ]


def read_watched(exam: Exam, log: Path, what: str) -> ExamImages:
    with log.open("a") as file:
        file.write(f"{exam.id} {os.getpid()}\n")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    deadline = time.monotonic() + 200
    while what == "wait" and not log.with_suffix(".go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return exam.read()


def read_log(log: Path) -> list[tuple[str, int]]:
    """Exams and processes in the order of reading."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def wait_for(log: Path, exam: str) -> int:
    """The process that reads an exam, as soon as it does."""
    deadline = time.monotonic() + 200
    while exam not in dict(read_log(log)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(read_log(log))[exam]
