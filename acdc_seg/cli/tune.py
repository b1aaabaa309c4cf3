"""acdc-tune"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc_seg.cli.app import Debug, StopOnSignal, Version, console, make_app, run, shell_path
from acdc_seg.cli.progress import make_progress, progress_bar

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from acdc_seg.config import Config
    from acdc_seg.tuning.spec import Plan
    from acdc_seg.tuning.workers import Progress

app = make_app()
DEFAULT_MODEL = "unet"
DEFAULT_TRIALS = 50


def _option(help: str, panel: str, default: str | bool = True) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, show_default=default)


@app.command(
    epilog="Settings that all trials share follow as SECTION.KEY=VALUE: acdc-tune --model unet "
    "train.batch_size=8. "
    "Spaces of your own: docs/tuning.md."
)
def tune(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION.KEY=VALUE", help="Settings that all trials share.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None, _option("Network; acdc-models lists them.", "What", DEFAULT_MODEL)
    ] = None,
    data: Annotated[
        Path | None,
        _option("ACDC tree or folder of image/mask pairs.", "What", "the built-in phantom"),
    ] = None,
    config: Annotated[
        Path | None, _option("YAML file of settings to start from.", "What", "the model's recipe")
    ] = None,
    space: Annotated[
        str,
        _option("Search space: default, loss, optimizer, augment, unet, or a YAML file.", "What"),
    ] = "default",
    name: Annotated[
        str | None,
        _option("Name of the study; an existing one is gone on with.", "What", "the model's"),
    ] = None,
    trials: Annotated[
        int | None,
        _option("Finished trials that the study shall have.", "How", "50, or the whole grid"),
    ] = None,
    sampler: Annotated[str, _option("tpe, random, cmaes or grid.", "How")] = "tpe",
    pruner: Annotated[
        str | None, _option("hyperband, median or none.", "How", "hyperband; none with --pareto")
    ] = None,
    folds: Annotated[
        int | None,
        _option("Score a trial by the mean over so many folds.", "How", "one validation split"),
    ] = None,
    pareto: Annotated[
        str | None, _option("Second goal to keep low: time or parameters.", "How", "none")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the sampler.", rich_help_panel="How")
    ] = 0,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes on this machine.", rich_help_panel="Computing")
    ] = 1,
    storage: Annotated[
        str | None,
        _option(
            "Database: postgresql://USER@HOST/NAME.",
            "Computing",
            "a journal file in the study folder",
        ),
    ] = None,
    device: Annotated[str | None, _option("auto, cpu, cuda, mps.", "Computing", "auto")] = None,
    studies_dir: Annotated[Path, _option("Folder of study folders.", "Output")] = Path("studies"),
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Search good settings: train again and again, drop what looks hopeless, keep the best.

    The same command goes on with a study, and joins it from another machine.
    """
    given = {"data.path": str(data.resolve()) if data else None, "train.device": device}
    base = _base_config(model, config, given, overrides or [])
    plan = _make_plan(
        base,
        space=space,
        name=name,
        trials=trials,
        workers=workers,
        sampler=sampler,
        pruner=pruner or ("none" if pareto else "hyperband"),
        folds=folds,
        pareto=pareto,
        seed=seed,
        storage=storage,
        studies_dir=studies_dir,
    )
    _run(plan)


def _base_config(
    model: str | None, path: Path | None, given: dict[str, str | None], overrides: list[str]
) -> "Config":
    from acdc_seg.config import load_config, parse_override

    if model is None and path is None:
        model = str(dict(map(parse_override, overrides)).get("model.name", DEFAULT_MODEL))
    flags = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    return load_config(
        path, model=model, overrides=["train.log_images_interval=0", *flags, *overrides]
    )


def _make_plan(
    base: "Config",
    *,
    space: str,
    name: str | None,
    trials: int | None,
    sampler: str,
    **options: Any,
) -> "Plan":
    from acdc_seg.errors import ConfigError
    from acdc_seg.tuning.space import find_space, load_space
    from acdc_seg.tuning.spec import Plan

    if trials is not None and trials < 1:
        raise ConfigError(f"--trials {trials}: at least one trial is needed")
    if name is not None and (name in (".", "..") or "/" in name or not name.strip()):
        raise ConfigError(f"--name '{name}': a study's name is a folder's name, without /")
    checked = load_space(find_space(space), base)
    if trials is None:
        trials = len(checked.grid()) if sampler == "grid" else DEFAULT_TRIALS
    return Plan(
        name=name or base.name or base.model.name,
        config=base,
        space=checked,
        trials=trials,
        sampler=sampler,
        **options,
    )


def _run(plan: "Plan") -> None:
    from acdc_seg.data.source import open_source
    from acdc_seg.errors import TrainingError
    from acdc_seg.tuning.results import write_outcome
    from acdc_seg.tuning.workers import tune as run_study

    if plan.config.data.path is None:
        console.print(
            "[bold yellow]No --data given: tuning on the built-in synthetic phantom. Its scores "
            "say nothing about real hearts.[/]"
        )
    with progress_bar() as report:
        open_source(plan.config.data, prepare_settings=plan.config.prepare, on_progress=report)
    console.print(
        f"[bold]{shell_path(plan.folder)}[/]: {plan.config.model.name}, {plan.trials} trials, "
        f"{plan.sampler}, {plan.pruner}"
    )
    monitor, stop = Monitor(plan), StopOnSignal("the workers")
    stop.listen()
    with monitor.progress:
        study = run_study(plan, on_progress=monitor.show, should_stop=lambda: stop.requested)
    best = write_outcome(study, plan)
    if stop.requested:
        console.print(
            "Stopped; trials that were running will be run again. The same command goes on."
        )
        raise typer.Exit(130)
    if best is None:
        raise TrainingError(
            f"none of {plan.trials} trials was completed; the reasons stand in "
            f"{plan.folder}/trials.csv"
        )
    place = shell_path(plan.folder)
    console.print(
        f"Wrote {place}/best.yaml, trials.csv and report.html\nNext: acdc-train --config "
        f"{shell_path(best)}"
    )


class Monitor:
    """A bar with the best score, trials done and time left on a terminal, and a line for every
    trial that ends.
    """

    def __init__(self, plan: "Plan") -> None:
        self.plan, self.best = plan, -math.inf
        self.progress = make_progress(console)
        self.task = self.progress.add_task("trials", total=plan.trials)

    def show(self, progress: "Progress") -> None:
        for trial in progress.new:
            self._print(trial, progress)
        best = "none yet" if progress.best is None else f"{progress.best:.4f}"
        self.progress.update(
            self.task,
            completed=progress.finished,
            description=f"best Dice {best}{_left(progress.seconds_left)}",
        )

    def _print(self, trial: "FrozenTrial", progress: "Progress") -> None:
        from rich.markup import escape

        from acdc_seg.tuning.results import outcome_of

        mark, said = "", outcome_of(trial)
        if trial.state.name == "COMPLETE":
            mark = " *" if trial.values[0] > self.best else ""
            self.best, said = max(self.best, trial.values[0]), f"Dice {trial.values[0]:.4f}{mark}"
        settings = ", ".join(
            f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in trial.params.items()
        )
        left = _left(progress.seconds_left)
        console.print(
            escape(
                f"trial {trial.number:>3}  {said}  {settings}  "
                f"({progress.finished}/{progress.total}{left})"
            )
        )


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"


def main() -> None:
    """Entry point of acdc-tune."""
    run(app)
