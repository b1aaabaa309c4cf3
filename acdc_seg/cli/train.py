"""acdc-train"""

import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc_seg.cli.app import Debug, StopOnSignal, Version, console, make_app, run, shell_path
from acdc_seg.cli.folds import train_folds
from acdc_seg.cli.progress import make_progress, progress_bar
from acdc_seg.config import setting_choices
from acdc_seg.errors import ConfigError

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.data.source import Source
    from acdc_seg.runs.folder import Run
    from acdc_seg.training.loop import Result

app = make_app()
DEFAULT_MODEL = "unet"
RECIPE = "the model's recipe"
ALL_FOLDS = "all"
FLAG_KEYS = {
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


def _choices(key: str) -> str:
    return ", ".join(setting_choices(key)) + "."


def _option(help: str, panel: str, default: str = RECIPE) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, show_default=default)


@app.command(
    epilog="Everything else is a setting: acdc-train --model unet augment.strength=0.5 "
    "model.depth=4. All of them: configs/default.yaml."
)
def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION.KEY=VALUE",
            help="Settings over those of the recipe.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        _option(
            "Network, for example unet, deeplab_drn, effunet; acdc-models lists all.",
            "What",
            DEFAULT_MODEL,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        _option("ACDC tree or folder of image/mask pairs.", "What", "the built-in phantom"),
    ] = None,
    config: Annotated[
        Path | None,
        _option("YAML file of settings; runs/NAME/config.yaml repeats a run.", "What", RECIPE),
    ] = None,
    name: Annotated[
        str | None, _option("Name of the run folder below runs/.", "What", "the model's, numbered")
    ] = None,
    resume: Annotated[Path | None, _option("Run folder to go on with.", "What", "none")] = None,
    extend_epochs: Annotated[
        int | None,
        _option("With --resume: train to this epoch instead of the run's last.", "What", "none"),
    ] = None,
    folds: Annotated[
        int | None,
        _option(
            "Number of folds that the patients of train and val are divided into.",
            "Cross-validation",
            "the data's split",
        ),
    ] = None,
    fold: Annotated[
        str | None,
        _option(
            "Fold that validates, from 0; all trains them one after another.",
            "Cross-validation",
            "the data's split",
        ),
    ] = None,
    validation: Annotated[
        bool | None,
        typer.Option(
            "--validation/--no-validation",
            help="Hold the validation images out, or train on them too.",
            rich_help_panel="Cross-validation",
            show_default="--validation",
        ),
    ] = None,
    epochs: Annotated[int | None, _option("Passes over the training images.", "How")] = None,
    batch_size: Annotated[int | None, _option("Images in a batch.", "How")] = None,
    lr: Annotated[float | None, _option("Learning rate, the peak of its schedule.", "How")] = None,
    weight_decay: Annotated[float | None, _option("Weight decay.", "How")] = None,
    loss: Annotated[
        str | None,
        _option(_choices("loss.name"), "How"),
    ] = None,
    optimizer: Annotated[str | None, _option(_choices("optimizer.name"), "How")] = None,
    seed: Annotated[int | None, _option("Seed of everything random.", "How", "0")] = None,
    device: Annotated[str | None, _option(_choices("train.device"), "Computing", "auto")] = None,
    precision: Annotated[
        str | None, _option(_choices("train.precision"), "Computing", "auto")
    ] = None,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Train a network to segment the heart.

    Without --data it trains on a synthetic cardiac phantom, so that the command works everywhere.
    """
    given = {
        flag: value for flag, value in locals().items() if flag in FLAG_KEYS and value is not None
    }
    if resume is None:
        if extend_epochs is not None:
            raise ConfigError("--extend-epochs goes with --resume RUN; a new run takes --epochs")
        settings = _settings(model, config, given, overrides or [])
    else:
        settings = _resumed_settings(resume, model, config, given, overrides or [], extend_epochs)
    if settings.data.path is None:
        console.print(
            "[bold yellow]No --data given: training on the built-in synthetic phantom. Its scores "
            "say nothing about real hearts.[/]"
        )
    if fold == ALL_FOLDS:
        train_folds(
            settings,
            open_data=_open,
            train_one=partial(_train_one, StopOnSignal("after this step to write the checkpoint")),
        )
    else:
        _train(settings, resume, extends=extend_epochs is not None)


def _settings(
    model: str | None, config: Path | None, given: dict[str, Any], overrides: list[str]
) -> "Config":
    from acdc_seg.config import find_recipe, load_config, parse_override

    if model is None and config is None:
        model = str(dict(map(parse_override, overrides)).get("model.name", DEFAULT_MODEL))
    settings = load_config(config, model=model, overrides=[*_flags(given), *overrides])
    if config is None and find_recipe(settings.model.name) is None:
        console.print(f"{settings.model.name} has no recipe: training with the defaults.")
    return settings


def _flags(given: dict[str, Any]) -> list[str]:
    """The given options as overrides of settings."""
    from acdc_seg.config import parse_override

    if "data" in given:
        given["data"] = str(given["data"].resolve())
    if "fold" in given:
        given["fold"] = (
            0 if given["fold"] == ALL_FOLDS else parse_override(f"fold={given['fold']}")[1]
        )
    return [f"{FLAG_KEYS[flag]}={json.dumps(value)}" for flag, value in given.items()]


def _resumed_settings(
    resume: Path,
    model: str | None,
    config: Path | None,
    given: dict[str, Any],
    overrides: list[str],
    extend_epochs: int | None,
) -> "Config":
    """Those of the run.

    Others may be given again; where they differ from the run's, the checkpoint refuses them.
    """
    from acdc_seg.config import load_config
    from acdc_seg.errors import CheckpointError
    from acdc_seg.runs.checkpoint import has_checkpoint

    if config is not None or given.get("fold") == ALL_FOLDS:
        raise ConfigError(
            "--resume goes on with one run and its own config.yaml; leave out --config and --fold "
            "all"
        )
    if not (resume / "config.yaml").is_file() or not has_checkpoint(resume / "last.pt"):
        raise CheckpointError(
            f"{resume}: no run to resume (config.yaml and last.pt are needed); check the path, or "
            "start a run without --resume"
        )
    extended = [] if extend_epochs is None else [f"train.epochs={extend_epochs}"]
    return load_config(
        resume / "config.yaml", model=model, overrides=[*_flags(given), *overrides, *extended]
    )


def _train(config: "Config", resume: Path | None, *, extends: bool) -> None:
    from acdc_seg.runs.folder import Run, create_run

    folder: list[Path] = []

    def make_run(resolved: "Config") -> Run:
        made = Run(resume) if resume else create_run(resolved, name=config.name)
        folder.append(made.folder)
        return made

    stop = StopOnSignal("after this step to write the checkpoint")
    result = _train_one(stop, config, _open(config), make_run, resume is not None, extends=extends)
    if not folder:  # in all processes but the first
        raise typer.Exit(130 if result.stopped else 0)
    place = shell_path(folder[0])
    if result.stopped:
        console.print(f"Stopped; nothing is lost. Go on with: acdc-train --resume {place}")
        raise typer.Exit(130)
    if math.isnan(result.dice):
        console.print(
            f"Trained for {result.num_epochs} epochs; nothing validated them. Wrote "
            f"{place}/report.html"
        )
    else:
        console.print(
            f"Best validation Dice [bold]{result.dice:.4f}[/] (foreground mean) in epoch "
            f"{result.epoch}. Wrote {place}/report.html"
        )
    split = " --split test" if math.isnan(result.dice) else ""
    console.print(
        f"Next: acdc-evaluate {place}{split}, or acdc-submit --runs {place} --data DIR --out "
        "submission.csv"
    )


def _open(config: "Config") -> "Source":
    from acdc_seg.data.source import open_source

    with progress_bar() as report:
        return open_source(config.data, prepare_settings=config.prepare, on_progress=report)


def _train_one(
    stop: StopOnSignal,
    config: "Config",
    source: "Source",
    make_run: "Callable[[Config], Run]",
    resume: bool,
    *,
    extends: bool = False,
) -> "Result":
    """One training with its progress; says where the run lies and what it sees."""
    from acdc_seg.config import with_overrides
    from acdc_seg.training.loop import Hooks
    from acdc_seg.training.loop import train as train_model

    monitor = Monitor(config.train.epochs, validates=config.data.validation)

    def announce(resolved: "Config") -> "Run":
        made = make_run(resolved)
        monitor.best = made.read_json().get("best_dice") or 0.0
        counts = ", ".join(f"{len(source.split(split))} {split}" for split in ("train", "val"))
        console.print(
            f"[bold]{shell_path(made.folder)}[/]: {resolved.model.name} on {source.kind} ({counts} "
            f"images, {resolved.train.precision})"
        )
        return made

    hooks = Hooks(
        on_batch=monitor.on_batch,
        on_epoch_end=monitor.on_epoch_end,
        should_stop=stop.poll,
        on_notice=console.print,
    )
    with monitor.progress:
        return train_model(
            with_overrides(config, {"name": None}),
            source,
            announce,
            hooks=hooks,
            resume=resume,
            extends=extends,
        )


class Monitor:
    """A progress bar with loss, Dice and time left on a terminal, and a line per validated epoch
    everywhere.

    Where nothing validates, there is a line per epoch and no Dice.
    """

    def __init__(self, num_epochs: int, *, validates: bool = True) -> None:
        self.progress = make_progress(console)
        self.task = self.progress.add_task("epochs", total=num_epochs)
        self.num_epochs, self.loss, self.best, self.started = (
            num_epochs,
            math.nan,
            0.0,
            time.monotonic(),
        )
        self.validates = validates

    def on_batch(self, epoch: int, done: int, total: int, mean_loss: float) -> None:
        self.loss = mean_loss
        text = f"epoch {epoch}, batch {done}/{total}, loss {mean_loss:.4f}"
        text += f", best Dice {self.best:.4f}" if self.validates else ""
        self.progress.update(self.task, completed=epoch - 1 + done / total, description=text)

    def on_epoch_end(self, epoch: int, dice: float) -> None:
        if math.isnan(dice) and self.validates:
            return
        score = f"  Dice {dice:.4f}{' *' if dice > self.best else ''}" if self.validates else ""
        self.best = max(self.best, dice)  # stays where the Dice is nan
        seconds = time.monotonic() - self.started
        console.print(
            f"epoch {epoch:>3}/{self.num_epochs}  loss {self.loss:.4f}{score}  {seconds:.0f} s"
        )


def main() -> None:
    """Entry point of acdc-train."""
    run(app)
