"""acdc-train: train a network, resume a training, or cross-validate."""

import json
import math
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, StopOnSignal, Version, console, make_app, run, shell_path
from acdc_seg.cli.progress import TrainProgress, duration, progress_bar
from acdc_seg.cli.settings import (
    PHANTOM_NOTICE,
    load_settings,
    print_notes,
)
from acdc_seg.cli.train_options import (
    BatchSize,
    ConfigFile,
    Data,
    Device,
    Epochs,
    ExtendEpochs,
    Fold,
    Folds,
    LearningRate,
    Loss,
    Model,
    Name,
    Optimizer,
    Overrides,
    Precision,
    PrintSettings,
    Resume,
    Seed,
    Validation,
    WeightDecay,
)
from acdc_seg.errors import ConfigError

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.data.source import Source
    from acdc_seg.runs.folder import Run
    from acdc_seg.training.loop import TrainResult

app = make_app()
ALL_FOLDS = "all"
PHANTOM_S = 480
"""Longest training on the phantom, in seconds, where no number of epochs is given."""
FLAG_SETTINGS = {
    "data": "data.path",
    "folds": "data.num_folds",
    "fold": "data.fold",
    "validation": "data.validation",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "loss": "loss.name",
    "optimizer": "optimizer.name",
    "device": "train.device",
    "precision": "train.precision",
    "seed": "seed",
    "name": "name",
}
"""The setting that each flag is another name for."""


@app.command(
    epilog="Everything else is a setting: acdc-train --model unet augment.strength=0.5 "
    "model.depth=4. All of them: acdc-train --settings."
)
def train(
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    config: ConfigFile = None,
    name: Name = None,
    resume: Resume = None,
    extend_epochs: ExtendEpochs = None,
    folds: Folds = None,
    fold: Fold = None,
    validation: Validation = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    weight_decay: WeightDecay = None,
    loss: Loss = None,
    optimizer: Optimizer = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    settings: PrintSettings = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Train a network to segment the heart.

    Without --data it trains on a synthetic cardiac phantom, so that the command works everywhere.
    """
    values = locals()
    flags = {setting: values[flag] for flag, setting in FLAG_SETTINGS.items()}
    flags["data.path"] = str(data.resolve()) if data else None
    flags["data.fold"] = 0 if fold == ALL_FOLDS else _number_or_text(fold)
    overrides = list(overrides or ())
    folder = None
    if resume is not None:
        if config is not None or fold == ALL_FOLDS:
            raise ConfigError(
                "--resume continues one run with its own config.yaml; leave out --config and "
                "--fold all"
            )
        folder = _find_run(resume)
        config = folder / "config.yaml"
        overrides += [] if extend_epochs is None else [f"train.epochs={extend_epochs}"]
    elif extend_epochs is not None:
        raise ConfigError("--extend-epochs goes with --resume RUN; a new run takes --epochs")
    loaded = load_settings(model, config, flags, overrides, with_recipe=folder is None)
    if loaded.data.path is None:
        console.print(PHANTOM_NOTICE.format("training"))
    if fold == ALL_FOLDS:
        _train_folds(loaded)
    else:
        is_free = epochs is None and config is None and loaded.data.path is None
        shorten = is_free and not any("epochs=" in override for override in overrides)
        _train(loaded, folder, extend=extend_epochs is not None, shorten=shorten)


def _number_or_text(fold: str | None) -> int | str | None:
    """The fold as a number where it is one; the config says what is wrong with another word."""
    return int(fold) if fold is not None and fold.lstrip("-").isdecimal() else fold


def _find_run(path: Path) -> Path:
    """The run folder at a path, or of this name below runs/."""
    from acdc_seg.errors import CheckpointError, path_hint

    for folder in (path, Path("runs") / path):
        if (folder / "config.yaml").is_file():
            return folder
    raise CheckpointError(
        f"{path}: no run to resume (its config.yaml is missing); {path_hint(path)}"
    )


def _has_work(config: "Config", folder: Path, *, extend: bool) -> bool:
    """Whether there is something to resume; a finished run only says how to extend it.

    Raises:
        CheckpointError: No last.pt, or a finished run and other settings.
    """
    from acdc_seg.config import load_config
    from acdc_seg.errors import CheckpointError
    from acdc_seg.runs.checkpoint import has_checkpoint
    from acdc_seg.runs.folder import Run
    from acdc_seg.runs.writer import check_settings

    run, name = Run(folder), shell_path(folder)
    complete, resumable = run.is_complete(), has_checkpoint(run.last)
    if complete and not extend:
        saved = load_config(folder / "config.yaml", with_recipe=False)
        check_settings(run, saved, config)
        console.print(f"[bold]{name}[/] is finished, {saved.train.epochs} epochs; nothing to do.")
        if resumable:
            console.print(f"Next: acdc-train --resume {name} --extend-epochs N continues it")
        return False
    if complete and not resumable:
        raise CheckpointError(
            f"{folder}: cannot be extended, for last.pt was removed when it was finished; train "
            "with train.keep_last=true to keep it"
        )
    if not resumable:
        raise CheckpointError(f"{folder}: no last.pt to resume from; start a run without --resume")
    return True


def _train(config: "Config", resume: Path | None, *, extend: bool, shorten: bool) -> None:
    from acdc_seg.runs.folder import Run

    if resume is not None and not _has_work(config, resume, extend=extend):
        return
    source = _open(config)
    print_notes(source.notes)
    if resume is None:
        _leave_busy_cpus(config)
    if shorten:
        config = _shorten(config, source)
    result = _train_one(
        config,
        source,
        Run(resume) if resume else None,
        StopOnSignal("after this step to write the checkpoint"),
        resume=resume is not None,
        extend=extend,
    )
    run, folder = result.run.folder, shell_path(result.run.folder)
    if result.stopped:
        console.print(f"Stopped; nothing is lost. Resume with: acdc-train --resume {folder}")
        raise typer.Exit(130)
    if math.isnan(result.dice):
        done = f"Trained for {result.num_epochs} epochs; nothing validated them."
    else:
        mean = "foreground mean" if result.config.classes.has_background else "mean of all classes"
        done = f"Best validation Dice [bold]{result.dice:.4f}[/] ({mean}) in epoch {result.epoch}."
    written = [name for name in ("metrics.csv", "report.html") if (run / name).is_file()]
    console.print(f"{done} Wrote {folder}/{written[-1]}" if written else done)
    split = " --split test" if math.isnan(result.dice) else ""
    console.print(
        f"Next: acdc-evaluate {folder}{split}, or acdc-submit --runs {folder} --data DIR --out "
        "submission.csv"
    )


def _leave_busy_cpus(config: "Config") -> None:
    """Takes fewer threads than PyTorch would where other programs are using the CPUs."""
    from acdc_seg.runtime.device import use_idle_threads

    if config.train.num_threads is None and "OMP_NUM_THREADS" not in os.environ:
        taken, most = use_idle_threads(config.train.device)
        if taken < most:
            console.print(
                f"Other programs keep the CPUs busy: training on {taken} of {most} threads; "
                f"train.num_threads={most} takes all."
            )


def _shorten(config: "Config", source: "Source") -> "Config":
    """As many epochs of the recipe as take a few minutes; in one process, for all need the same."""
    from acdc_seg.config import with_overrides
    from acdc_seg.training.estimate import epochs_within

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return config
    most, epochs = config.train.epochs, epochs_within(config, source, seconds=PHANTOM_S)
    if epochs < most:
        console.print(
            f"Training for {epochs} epochs, about {duration(PHANTOM_S)}; --epochs {most} is the "
            "recipe's full length."
        )
    return with_overrides(config, {"train.epochs": epochs})


def _train_folds(config: "Config") -> None:
    from acdc_seg.training.folds import fold_table, folds_name, train_folds

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "--fold all trains in one process; start each fold by itself to have several: "
            "torchrun ... --fold 0, then 1, ..."
        )
    stop = StopOnSignal("after this step to write the checkpoint")
    _leave_busy_cpus(config)
    name = folds_name(config)
    told: set[str] = set()

    def open_fold(config: "Config") -> "Source":
        source = _open(config)
        print_notes([note for note in source.notes if note not in told])
        told.update(source.notes)
        return source

    runs = train_folds(
        config,
        name,
        open_data=open_fold,
        train_fold=lambda config, source, run, resume: (
            _train_one(config, source, run, stop, resume=resume).stopped
        ),
        on_skip=lambda run: console.print(
            f"[bold]{shell_path(run.folder)}[/]: finished before, Dice "
            f"{run.read_json()['best_dice']:.4f}"
        ),
    )
    if runs is None:
        naming = [] if config.name else ["--name", name]
        command = shlex.join(["acdc-train", *sys.argv[1:], *naming])
        console.print(f"Stopped; nothing is lost. Resume with: {escape(command)}")
        raise typer.Exit(130)
    scores = [json.loads((run.folder / "metrics.json").read_text("utf-8")) for run in runs]
    console.print(fold_table(scores), markup=False)
    pattern = f"{shell_path(Path(config.runs_dir) / name)}-fold*"
    console.print(f"Wrote {len(runs)} runs, {pattern}. Next: acdc-ensemble {pattern}")


def _open(config: "Config") -> "Source":
    from acdc_seg.data.source import open_source

    with progress_bar() as report:
        return open_source(
            config.data,
            prepare_settings=config.prepare,
            classes=config.classes,
            on_progress=report,
        )


def _train_one(
    config: "Config",
    source: "Source",
    run: "Run | None",
    stop: StopOnSignal,
    *,
    resume: bool,
    extend: bool = False,
) -> "TrainResult":
    """One training with its progress, and its scores and report unless it was stopped."""
    from acdc_seg.training.finish import finish_run
    from acdc_seg.training.loop import Hooks
    from acdc_seg.training.loop import train as train_network

    progress = TrainProgress(config, source)
    hooks = Hooks(
        on_start=progress.on_start,
        on_batch=progress.on_batch,
        on_epoch_end=progress.on_epoch_end,
        should_stop=stop.poll,
        on_notice=partial(console.print, markup=False),
    )
    with progress.bar:
        result = train_network(config, source, run=run, resume=resume, extend=extend, hooks=hooks)
    if not result.stopped and os.environ.get("RANK", "0") == "0":
        finish_run(result.run, result.config, source, result.history)
    return result


def main() -> None:
    """Entry point of acdc-train."""
    run(app)
