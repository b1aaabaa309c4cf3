"""Studies of a tiny U-Net on eight hearts, in this process and in others."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import torch

from acdc_seg.config import Config
from acdc_seg.runs.folder import create_run
from acdc_seg.training.loop import TrainResult
from acdc_seg.tuning.space import Space, load_space
from acdc_seg.tuning.spec import StudySpec
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.workers import work

SPACE = """
optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}
train.epochs: [2, 3]
loss.name: [dice_ce, tversky]
loss.tversky_alpha: {low: 0.2, high: 0.6, when: {loss.name: tversky}}
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_space(tmp_path: Path, tiny_config: Config) -> Callable[[str], Space]:
    def make(text: str) -> Space:
        (tmp_path / "space.yaml").write_text(text)
        return load_space(tmp_path / "space.yaml", tiny_config)

    return make


@pytest.fixture
def make_spec(
    tmp_path: Path, tiny_config: Config, make_space: Callable[[str], Space]
) -> Callable[..., StudySpec]:
    def make(
        *,
        space: str = SPACE,
        num_trials: int = 4,
        name: str = "s",
        place: str = "studies",
        **options: object,
    ) -> StudySpec:
        config = options.pop("config", tiny_config)
        return StudySpec(
            name=name,
            config=config,
            space=make_space(space),
            num_trials=num_trials,
            studies_dir=tmp_path / place,
            **options,
        )

    return make


@pytest.fixture
def fake_train(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces training by `score(config)`, a Dice for each epoch or an exception."""

    def use(score: Callable[[Config], list[float]] = growing) -> None:
        def run(config, source, *, hooks):
            created = create_run(config, name=config.name)
            created.best.write_bytes(b"weights")
            created.last.write_bytes(b"state")
            for epoch, dice in enumerate(score(config), start=1):
                hooks.on_epoch_end(epoch, dice)
            return TrainResult(created, config, [], 1.0, 1, hooks.should_stop())

        monkeypatch.setattr("acdc_seg.tuning.objective.train", run)

    return use


def growing(config: Config) -> list[float]:
    """Scores that grow with the epochs and are best at a learning rate of 0.01."""
    best = 1 - abs(math.log10(config.optimizer.lr) + 2) / 4
    return [best - 0.1 / epoch for epoch in range(1, config.train.epochs + 1)]


@pytest.fixture
def run_study() -> Callable[..., optuna.Study]:
    """Works on a study in this process and gives it back."""

    def run(spec: StudySpec, **options: Callable[[], bool]) -> optuna.Study:
        work(spec, **options)
        return open_study(spec)

    return run


@pytest.fixture
def start_command(tmp_path: Path, paired_folder: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts acdc-tune on the tiny U-Net in a process group of its own."""
    started: list[subprocess.Popen] = []
    (tmp_path / "space.yaml").write_text(SPACE)
    fixed = (
        *("--data", paired_folder, "--space", tmp_path / "space.yaml", "--name", "s"),
        *("--device", "cpu", "--trials", "12"),
    )
    tiny = ("train.precision=fp32", "train.batch_size=2", "model.depth=2", "model.base_channels=4")

    def start(*arguments: str) -> subprocess.Popen:
        code = "from acdc_seg.cli.tune import main; main()"
        command = [sys.executable, "-c", code, *map(str, fixed), *arguments, *tiny]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=environment,
                start_new_session=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate()
