"""acdc-train"""

import json
import math
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc_seg.cli.app import Debug, Version, console, errors, make_app, make_progress, progress_bar, quoted, run

if TYPE_CHECKING:
    from acdc_seg.config import Config

app = make_app()
DEFAULT_MODEL = "unet"
RECIPE = "the model's recipe"
FLAG_KEYS = {
    "data": "data.path",
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


def _option(help: str, panel: str, default: str = RECIPE) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, show_default=default)


@app.command(
    epilog="Everything else is a setting: acdc-train --model unet augment.strength=0.5 model.depth=4. All of them: configs/default.yaml."
)
def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings over those of the recipe.", show_default=False)
    ] = None,
    model: Annotated[str | None, _option("Network: unet, deeplab_drn.", "What", DEFAULT_MODEL)] = None,
    data: Annotated[Path | None, _option("ACDC tree or folder of image/mask pairs.", "What", "the built-in phantom")] = None,
    config: Annotated[Path | None, _option("YAML file of settings; runs/NAME/config.yaml repeats a run.", "What", RECIPE)] = None,
    name: Annotated[str | None, _option("Name of the run folder below runs/.", "What", "the model's, numbered")] = None,
    resume: Annotated[Path | None, _option("Run folder to go on with.", "What", "none")] = None,
    epochs: Annotated[int | None, _option("Passes over the training images.", "How")] = None,
    batch_size: Annotated[int | None, _option("Images in a batch.", "How")] = None,
    lr: Annotated[float | None, _option("Learning rate, the peak of its schedule.", "How")] = None,
    weight_decay: Annotated[float | None, _option("Weight decay.", "How")] = None,
    loss: Annotated[
        str | None, _option("cross_entropy, dice, dice_ce, dice_focal, focal, tversky, focal_tversky, jaccard, bce, ce_dice.", "How")
    ] = None,
    optimizer: Annotated[str | None, _option("adam, adamw, rmsprop, sgd.", "How")] = None,
    seed: Annotated[int | None, _option("Seed of everything random.", "How", "0")] = None,
    device: Annotated[str | None, _option("auto, cpu, cuda, mps.", "Computing", "auto")] = None,
    precision: Annotated[str | None, _option("auto, fp32, bf16, fp16.", "Computing", "auto")] = None,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Train a network to segment the heart.

    Without --data it trains on a synthetic cardiac phantom, so that the command works everywhere.
    """
    given = {flag: value for flag, value in locals().items() if flag in FLAG_KEYS and value is not None}
    settings = _settings(resume, model, config, given, overrides or [])
    _train(settings, resume)


def _settings(resume: Path | None, model: str | None, config: Path | None, given: dict[str, Any], overrides: list[str]) -> "Config":
    from acdc_seg.config import load_config, parse_override
    from acdc_seg.errors import CheckpointError, ConfigError

    if resume is None:
        if "data" in given:
            given["data"] = str(given["data"].resolve())
        flags = [f"{FLAG_KEYS[flag]}={json.dumps(value)}" for flag, value in given.items()]
        if model is None and config is None:
            model = str(dict(map(parse_override, overrides)).get("model.name", DEFAULT_MODEL))
        return load_config(config, model=model, overrides=[*flags, *overrides])
    if given or overrides or model or config:
        raise ConfigError("--resume goes on with the run's own settings; leave out all other options")
    if not (resume / "config.yaml").is_file() or not (resume / "last.pt").is_file():
        raise CheckpointError(
            f"{resume}: no run to resume (config.yaml and last.pt are needed); check the path, or start a run without --resume"
        )
    return load_config(resume / "config.yaml")


def _train(config: "Config", resume: Path | None) -> None:
    from acdc_seg.config import with_overrides
    from acdc_seg.data.sources import open_source
    from acdc_seg.run import Run, create_run
    from acdc_seg.train import Watch
    from acdc_seg.train import train as train_model

    if config.data.path is None:
        console.print(
            "[bold yellow]No --data given: training on the built-in synthetic phantom. Its scores say nothing about real hearts.[/]"
        )
    with progress_bar() as report:
        source = open_source(config.data, prepare_settings=config.prepare, on_progress=report)
    monitor, stop = Monitor(config.train.epochs), StopOnSignal()
    folder: list[Path] = []

    def make_run(resolved: "Config") -> Run:
        made = Run(resume) if resume else create_run(resolved, name=config.name)
        monitor.best = made.read_json().get("best_dice", 0.0)
        folder.append(made.folder)
        counts = ", ".join(f"{len(source.split(split))} {split}" for split in ("train", "val"))
        console.print(
            f"[bold]{quoted(made.folder)}[/]: {resolved.model.name} on {source.kind} ({counts} images, {resolved.train.precision})"
        )
        return made

    watch = Watch(on_batch=monitor.on_batch, on_epoch_end=monitor.on_epoch_end, should_stop=lambda: stop.requested)
    stop.listen()
    with monitor.progress:
        result = train_model(with_overrides(config, {"name": None}), source, make_run, watch=watch, resume=resume is not None)
    if not folder:
        return
    place = quoted(folder[0])
    if result.stopped:
        console.print(f"Stopped; nothing is lost. Go on with: acdc-train --resume {place}")
        raise typer.Exit(130)
    console.print(
        f"Best validation Dice [bold]{result.dice:.4f}[/] (foreground mean) in epoch {result.epoch}. Wrote {place}/report.html\n"
        f"Next: acdc-evaluate {place}, or acdc-submit --runs {place} --data DIR --out submission.csv"
    )


class StopOnSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish to stop; the second one ends the program at once."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True
        signal.signal(number, signal.default_int_handler)
        errors.print("Stopping after this step to write the checkpoint; press Ctrl-C again to quit at once.")


class Monitor:
    """A progress bar with loss, Dice and time left on a terminal, and a line per validated epoch everywhere."""

    def __init__(self, num_epochs: int) -> None:
        self.progress = make_progress(console)
        self.task = self.progress.add_task("epochs", total=num_epochs)
        self.num_epochs, self.loss, self.best, self.started = num_epochs, math.nan, 0.0, time.monotonic()

    def on_batch(self, epoch: int, done: int, total: int, mean_loss: float) -> None:
        self.loss = mean_loss
        text = f"epoch {epoch}, batch {done}/{total}, loss {mean_loss:.4f}, best Dice {self.best:.4f}"
        self.progress.update(self.task, completed=epoch - 1 + done / total, description=text)

    def on_epoch_end(self, epoch: int, dice: float) -> None:
        if math.isnan(dice):
            return
        mark = " *" if dice > self.best else ""
        self.best = max(self.best, dice)
        seconds = time.monotonic() - self.started
        console.print(f"epoch {epoch:>3}/{self.num_epochs}  loss {self.loss:.4f}  Dice {dice:.4f}{mark}  {seconds:.0f} s")


def main() -> None:
    """Entry point of acdc-train."""
    run(app)
