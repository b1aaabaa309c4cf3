"""Runs the commands in a working directory of their own."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command, make_command

from acdc_seg.cli import app
from acdc_seg.data.phantom.patients import synthesize

TINY = (
    *("--epochs", "2", "--batch-size", "2", "--device", "cpu", "--precision", "fp32"),
    *("model.depth=2", "model.base_channels=4", "train.log_images_interval=0"),
)


@pytest.fixture(autouse=True)
def _own_process_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh working directory and wide terminal; what a command leaves in the process is
    undone.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else a busy machine is spoken of
    monkeypatch.setattr(app, "_debug", False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return make_command(monkeypatch, capsys)


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """Arguments that make a training take a moment."""
    return TINY


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def trained(shelf: Path, paired_folder: Path, tmp_path: Path, command: Command) -> Path:
    """runs/unet: a copy of a run of two epochs, trained once on the eight hearts, with last.pt."""
    if not (shelf / "runs" / "unet").is_dir():
        hearts = shutil.copytree(paired_folder, shelf / "hearts", dirs_exist_ok=True)
        kept = ("train.keep_last=true", f"runs_dir={shelf / 'runs'}")
        assert command("train", "--data", hearts, *TINY, *kept).code == 0
    return shutil.copytree(shelf / "runs" / "unet", tmp_path / "runs" / "unet")


@pytest.fixture(scope="session")
def tree(shelf: Path) -> Path:
    """An ACDC tree of three training patients and one testing patient."""
    synthesize(shelf / "tree", num_patients=3, num_test_patients=1, seed=1)
    return shelf / "tree"
