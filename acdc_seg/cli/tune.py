"""acdc-tune"""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, StopOnSignal, Version, console, make_app, run, shell_path
from acdc_seg.cli.progress import make_progress, progress_bar
from acdc_seg.cli.settings import DEFAULT_MODEL, PHANTOM_NOTICE, choices, load_settings, option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from acdc_seg.config import Config
    from acdc_seg.tuning.spec import StudySpec
    from acdc_seg.tuning.workers import StudyProgress

app = make_app()
DEFAULT_TRIALS = 50

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.KEY=VALUE", help="Settings that all trials share.", show_default=False
    ),
]
Model = Annotated[str | None, option("Network; acdc-models lists them.", "What", DEFAULT_MODEL)]
Data = Annotated[
    Path | None, option("ACDC tree or folder of image/mask pairs.", "What", "the built-in phantom")
]
ConfigFile = Annotated[
    Path | None, option("YAML file of settings to start from.", "What", "the model's recipe")
]
SpaceName = Annotated[
    str, option("Search space: default, loss, optimizer, augment, unet, or a YAML file.", "What")
]
Name = Annotated[
    str | None, option("Name of the study; an existing one is resumed.", "What", "the model's")
]
Trials = Annotated[
    int | None,
    option("Finished trials that the study shall have.", "How", "50, or the whole grid"),
]
Sampler = Annotated[str, option("tpe, random, cmaes or grid.", "How")]
Pruner = Annotated[
    str | None, option("hyperband, median or none.", "How", "hyperband; none with --pareto")
]
Folds = Annotated[
    int | None, option("Score a trial by the mean over so many folds.", "How", "one split")
]
Pareto = Annotated[
    str | None, option("Second goal to minimize: time or parameters.", "How", "none")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the sampler.", rich_help_panel="How")]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes on this machine.", rich_help_panel="Computing")
]
Storage = Annotated[
    str | None,
    option(
        "Database: postgresql://USER@HOST/NAME.", "Computing", "a journal file in the study folder"
    ),
]
TrialDevice = Annotated[str | None, option(choices("train.device"), "Computing", "auto")]
StudiesDir = Annotated[Path, option("Folder of study folders.", "Output")]


@app.command(
    epilog="Settings that all trials share follow as SECTION.KEY=VALUE: acdc-tune --model unet "
    "train.batch_size=8. Spaces of your own: docs/tuning.md."
)
def tune(
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    config: ConfigFile = None,
    space: SpaceName = "default",
    name: Name = None,
    trials: Trials = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = None,
    folds: Folds = None,
    pareto: Pareto = None,
    seed: Seed = 0,
    workers: Workers = 1,
    storage: Storage = None,
    device: TrialDevice = None,
    studies_dir: StudiesDir = Path("studies"),
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Search good settings: train again and again, drop what looks hopeless, keep the best.

    The same command resumes a study, and joins it from another machine.
    """
    flags = {
        "train.log_images_interval": 0,
        "data.path": str(data.resolve()) if data else None,
        "train.device": device,
    }
    base = load_settings(model, config, flags, overrides or [])
    spec = _make_spec(
        base,
        space,
        [text.partition("=")[0].strip() for text in overrides or []],
        name=name,
        num_trials=trials,
        num_workers=workers,
        sampler=sampler,
        pruner=pruner or ("none" if pareto else "hyperband"),
        num_folds=folds,
        pareto=pareto,
        seed=seed,
        storage=storage,
        studies_dir=studies_dir,
    )
    _run(spec)


def _make_spec(
    base: "Config",
    space_name: str,
    fixed: "Sequence[str]",
    *,
    name: str | None,
    num_trials: int | None,
    sampler: str,
    **options: Any,
) -> "StudySpec":
    from acdc_seg.errors import ConfigError
    from acdc_seg.tuning.space import find_space, load_space
    from acdc_seg.tuning.spec import StudySpec

    if num_trials is not None and num_trials < 1:
        raise ConfigError(f"--trials {num_trials}: at least one trial is needed")
    if name is not None and (name in (".", "..") or "/" in name or not name.strip()):
        raise ConfigError(f"--name '{name}': a study's name is a folder's name, without /")
    space = load_space(find_space(space_name), base, fixed=fixed)
    if num_trials is None:
        is_grid = sampler == "grid"
        num_trials = len(space.grid(space.params_of(base))) if is_grid else DEFAULT_TRIALS
    name = name or base.name or base.model.name
    return StudySpec(name, base, space, num_trials, sampler=sampler, **options)


def _run(spec: "StudySpec") -> None:
    from acdc_seg.data.source import open_source
    from acdc_seg.errors import AcdcError, TrainingError
    from acdc_seg.tuning.results import common_reasons, write_results
    from acdc_seg.tuning.storage import open_study
    from acdc_seg.tuning.trials import compare_with_recipe
    from acdc_seg.tuning.workers import tune as run_study

    if spec.config.data.path is None:
        console.print(PHANTOM_NOTICE.format("tuning"))
    with progress_bar() as report:
        open_source(
            spec.config.data,
            prepare_settings=spec.config.prepare,
            classes=spec.config.classes,
            on_progress=report,
        )
    folder = shell_path(spec.folder)
    console.print(
        f"[bold]{folder}[/]: {spec.config.model.name}, {spec.num_trials} trials, {spec.sampler}, "
        f"{spec.pruner}"
    )
    for key, value in spec.space.fixed.items():
        console.print(escape(f"{key}={json.dumps(value)} is set by the command: it is not varied."))
    bar, stop = StudyProgressBar(spec), StopOnSignal("the workers")
    stop.listen()
    try:
        with bar.progress:
            study = run_study(spec, on_progress=bar.show, should_stop=lambda: stop.requested)
    except TrainingError:
        with suppress(AcdcError, OSError):  # what broke may be the disk
            write_results(open_study(spec.with_resolved_device()), spec)
        raise
    best = write_results(study, spec)
    if stop.requested:
        console.print(
            "Stopped; trials that were running will be run again. The same command resumes the "
            "study."
        )
        raise typer.Exit(130)
    if best is None:
        raise TrainingError(
            f"none of {spec.num_trials} trials was completed: {common_reasons(study)}; all are in "
            f"{spec.folder}/trials.csv"
        )
    console.print(
        f"{escape(compare_with_recipe(study, spec))}\n"
        f"Wrote {folder}/best.yaml, trials.csv and report.html\nNext: acdc-train --config "
        f"{shell_path(best)}"
    )


class StudyProgressBar:
    """A bar with the best score, trials done and time left on a terminal, and a line for every
    trial that ends.
    """

    def __init__(self, spec: "StudySpec") -> None:
        self.progress = make_progress(console)
        self.task = self.progress.add_task("trials", total=spec.num_trials)

    def show(self, progress: "StudyProgress") -> None:
        """Prints the trials that ended and updates the bar."""
        previous = progress.previous_best
        for trial in progress.new:
            is_best = trial.state.name == "COMPLETE" and (
                previous is None or trial.values[0] > previous
            )
            self._print(trial, progress, is_best=is_best)
            previous = trial.values[0] if is_best else previous
        best = "none yet" if progress.best is None else f"{progress.best:.4f}"
        self.progress.update(
            self.task,
            completed=progress.num_finished,
            description=f"best Dice {best}{_time_left(progress.seconds_left)}",
        )

    def _print(self, trial: "FrozenTrial", progress: "StudyProgress", *, is_best: bool) -> None:
        from acdc_seg.tuning.trials import describe_result, describe_settings

        result = describe_result(trial)
        if trial.state.name == "COMPLETE":
            result = f"Dice {trial.values[0]:.4f}{' *' if is_best else ''}"
        settings = describe_settings(trial)
        done = f"{progress.num_finished}/{progress.num_trials}{_time_left(progress.seconds_left)}"
        console.print(escape(f"trial {trial.number:>3}  {result}  {settings}  ({done})"))


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"


def main() -> None:
    """Entry point of acdc-tune."""
    run(app)
