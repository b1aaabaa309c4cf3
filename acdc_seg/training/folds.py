"""Cross-validation: trains the folds of a config one after another, and compares their scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from acdc_seg.config import Config, differences, load_config, with_overrides
from acdc_seg.data.sizes import with_size
from acdc_seg.data.source import Source
from acdc_seg.errors import ConfigError
from acdc_seg.files import numbered
from acdc_seg.runs.checkpoint import has_checkpoint
from acdc_seg.runs.folder import Run

TrainFold = Callable[[Config, Source, Run | None, bool], bool]
"""Trains with config and source, into a run that exists or a new one of the config's name, resuming
it or not; returns whether it was stopped.
"""


def folds_name(config: Config) -> str:
    """Common name of the fold runs: the config's, or the network's with the next free number."""
    names = [config.name] if config.name else numbered(config.model.name)
    runs_dir = Path(config.runs_dir)
    return next(name for name in names if config.name or not any(runs_dir.glob(f"{name}-fold*")))


def train_folds(
    config: Config,
    name: str,
    *,
    open_data: Callable[[Config], Source],
    train_fold: TrainFold,
    on_skip: Callable[[Run], None] = lambda run: None,
) -> list[Run] | None:
    """Trains every fold that is not finished yet into `runs_dir/NAME-foldN`.

    Args:
        config: Settings; `data.num_folds` is set, `data.fold` is replaced by each fold in turn.
        name: See `folds_name`.
        open_data: Opens the data of a fold.
        train_fold: Trains one fold.
        on_skip: Called with the run of a fold that is finished already.

    Returns:
        The runs of all folds, or None where one was stopped.

    Raises:
        ConfigError: A fold was trained before with other settings or data.
    """
    assert config.data.num_folds is not None
    runs = [
        Run(Path(config.runs_dir) / f"{name}-fold{fold}") for fold in range(config.data.num_folds)
    ]
    configs = [
        with_overrides(config, {"data.fold": fold, "name": run.folder.name})
        for fold, run in enumerate(runs)
    ]
    sources = [open_data(fold_config) for fold_config in configs]
    started = [(run.folder / "config.yaml").is_file() for run in runs]
    for run, fold_config, source, exists in zip(runs, configs, sources, started, strict=True):
        if exists:
            _check_same(run, fold_config, source)
    for run, fold_config, source, exists in zip(runs, configs, sources, started, strict=True):
        if run.is_complete():
            on_skip(run)
        elif train_fold(
            fold_config, source, run if exists else None, exists and has_checkpoint(run.last)
        ):
            return None
    return runs


def fold_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """Foreground and class Dice of every fold, their mean ± standard deviation (of the population),
    and the mean over all images.

    Args:
        scores: Content of metrics.json of each fold.
    """
    names = list(scores[0]["classes"])
    dice = [
        [fold["dice"], *(fold["classes"][name]["dice_mean"] for name in names)] for fold in scores
    ]
    images = [row for fold in scores for row in fold["images"]]
    by_class = [fmean(row["dice"][name] for row in images) for name in names]
    lines = [["fold", "patients", "images", "Dice", *names]]
    for number, (fold, values) in enumerate(zip(scores, dice, strict=True)):
        lines.append([str(number), *_counts(fold["images"]), *map(_number, values)])
    columns = list(zip(*dice, strict=True))
    lines.append(["mean", "", "", *(_number(fmean(column)) for column in columns)])
    lines.append(["± sd", "", "", *(_number(pstdev(column)) for column in columns)])
    lines.append(["all", *_counts(images), *map(_number, [fmean(by_class), *by_class])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _check_same(run: Run, config: Config, source: Source) -> None:
    """Raises ConfigError where the run has other settings or data."""
    saved = load_config(run.folder / "config.yaml", with_recipe=False)
    changes: dict[str, Any] = {"name": None}
    if config.data.size is None and saved.data.size is not None:
        data = with_size(config.data, source)
        changes |= {"data.size": data.size, "data.fit": data.fit}
    if config.train.precision == "auto":
        changes["train.precision"] = saved.train.precision
    changed = differences(saved, with_overrides(config, changes))
    if changed:
        listed = "; ".join(f"{key} is {old}, not {new}" for key, (old, new) in changed.items())
        raise ConfigError(
            f"{run.folder}: exists with different settings: {listed}; use those, or another --name"
        )
    if run.read_json().get("data_sha256", "") not in ("", source.digest()):
        raise ConfigError(
            f"{run.folder}: was trained on other data than is at {source.root} now; give another "
            "--name"
        )


def _counts(images: Sequence[Mapping[str, Any]]) -> list[str]:
    """Numbers of patients and of images."""
    return [str(len({row["patient"] for row in images})), str(len(images))]


def _number(value: float) -> str:
    return f"{value:.4f}"
