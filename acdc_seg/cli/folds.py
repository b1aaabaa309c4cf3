"""The folds of acdc-train: all of them one after another, and what they say together."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from acdc_seg.cli.app import console, shell_path

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.data.source import Source
    from acdc_seg.runs.folder import Run
    from acdc_seg.training.loop import Result

Open = Callable[["Config"], "Source"]
TrainOne = Callable[["Config", "Source", Callable[["Config"], "Run"], bool], "Result"]
"""Trains with config, source and maker of the run folder; the last says whether to resume."""


def train_folds(config: "Config", *, open_data: Open, train_one: TrainOne) -> None:
    """Trains every fold that is not finished yet, and prints the scores of all.

    Raises:
        ConfigError: A fold was trained before with other settings or data, or there is more than
            one process.
    """
    from acdc_seg.config import with_overrides
    from acdc_seg.errors import ConfigError

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "--fold all trains in one process; start each fold by itself to have several: "
            "torchrun ... --fold 0, then 1, ..."
        )
    assert config.data.num_folds is not None
    configs = [
        with_overrides(config, {"data.fold": fold, "name": None})
        for fold in range(config.data.num_folds)
    ]
    sources = [open_data(each) for each in configs]
    name = config.name or _fresh_name(config)
    folders = [Path(config.runs_dir) / f"{name}-fold{fold}" for fold in range(len(configs))]
    for folder, each, source in zip(folders, configs, sources, strict=True):
        if (folder / "config.yaml").is_file():
            _check_same(folder, each, source)
    for folder, each, source in zip(folders, configs, sources, strict=True):
        _train_fold(folder, each, source, train_one, name=None if config.name else name)
    console.print(
        fold_table(
            [
                json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
                for folder in folders
            ]
        ),
        markup=False,
    )
    pattern = f"{shell_path(Path(config.runs_dir) / name)}-fold*"
    console.print(f"Wrote {len(folders)} runs, {pattern}. Next: acdc-ensemble {pattern}")


def fold_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """Foreground and class Dice of every fold, mean ± standard deviation (of the population) of the
    folds, and the mean over all images.

    Args:
        scores: Content of metrics.json of each fold.
    """
    names = list(scores[0]["classes"])
    dice = [
        [each["dice"], *(each["classes"][name]["dice_mean"] for name in names)] for each in scores
    ]
    images = [row for each in scores for row in each["images"]]
    by_class = [fmean(row["dice"][name] for row in images) for name in names]
    lines = [["fold", "patients", "images", "Dice", *names]]
    lines += [
        [str(fold), *_counts(each["images"]), *map(_number, row)]
        for fold, (each, row) in enumerate(zip(scores, dice, strict=True))
    ]
    columns = list(zip(*dice, strict=True))
    lines.append(["mean", "", "", *(_number(fmean(column)) for column in columns)])
    lines.append(["± sd", "", "", *(_number(pstdev(column)) for column in columns)])
    lines.append(["all", *_counts(images), *map(_number, [fmean(by_class), *by_class])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _fresh_name(config: "Config") -> str:
    """The model's name, numbered where folds of that name are there already."""
    from acdc_seg.files import numbered

    return next(
        name
        for name in numbered(config.model.name)
        if not any(Path(config.runs_dir).glob(f"{name}-fold*"))
    )


def _check_same(folder: Path, config: "Config", source: "Source") -> None:
    """Raises ConfigError where the run in the folder has other settings or data."""
    from acdc_seg.config import differences, load_config, with_overrides
    from acdc_seg.errors import ConfigError
    from acdc_seg.runs.folder import Run

    there = load_config(folder / "config.yaml")
    if config.train.precision == "auto":
        config = with_overrides(config, {"train.precision": there.train.precision})
    if other := [
        f"{key} is {old}, not {new}" for key, (old, new) in differences(there, config).items()
    ]:
        raise ConfigError(
            f"{folder}: holds a run with other settings: {'; '.join(other)}; give those, or "
            "another --name"
        )
    if Run(folder).read_json().get("data_sha256", "") not in ("", source.digest()):
        raise ConfigError(
            f"{folder}: was trained on other data than lies at {source.root} now; give another "
            "--name"
        )


def _train_fold(
    folder: Path, config: "Config", source: "Source", train_one: TrainOne, *, name: str | None
) -> None:
    """Trains one fold unless it is finished.

    `name` is what the command must be given to go on, None where it was.
    """
    from acdc_seg.runs.checkpoint import has_checkpoint
    from acdc_seg.runs.folder import Run, create_run

    if (folder / "report.html").is_file():
        console.print(
            f"[bold]{shell_path(folder)}[/]: finished before, Dice "
            f"{Run(folder).read_json()['best_dice']:.4f}"
        )
        return

    def make_run(resolved: "Config") -> "Run":
        return (
            Run(folder)
            if (folder / "config.yaml").is_file()
            else create_run(resolved, name=folder.name)
        )

    if train_one(config, source, make_run, has_checkpoint(folder / "last.pt")).stopped:
        command = shlex.join(["acdc-train", *sys.argv[1:], *(["--name", name] if name else [])])
        console.print(f"Stopped; nothing is lost. Go on with: {escape(command)}")
        raise typer.Exit(130)


def _counts(images: Sequence[Mapping[str, Any]]) -> list[str]:
    """Numbers of patients and of images."""
    return [str(len({row["patient"] for row in images})), str(len(images))]


def _number(value: float) -> str:
    return f"{value:.4f}"
