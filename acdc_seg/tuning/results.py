"""Files of a study: best.yaml, trials.csv, the page, and TensorBoard's hyperparameter table."""

import shutil
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots
from torch.utils.tensorboard import SummaryWriter

from acdc_seg.config import dump_yaml, to_dict, with_overrides
from acdc_seg.files import write_table, write_text
from acdc_seg.report.figures import GRAY, INK
from acdc_seg.report.page import write_report
from acdc_seg.tuning.spec import StudySpec
from acdc_seg.tuning.trials import is_finished, ranked

NUM_LISTED = 10
NUM_CONTOURED = 3
NUM_REASONS = 3
SLICES_PER_ROW = 3


def write_results(study: Study, spec: StudySpec) -> Path | None:
    """Writes all files of a study.

    Returns:
        best.yaml, or None where no trial is complete.

    Raises:
        DataError: A file cannot be written.
    """
    spec = spec.with_resolved_device()
    _write_table(study, spec)
    best = next(iter(ranked(study)), None)
    if best is None:
        return None
    _write_best(study, spec, best)
    _write_page(study, spec, best)
    _write_hparams(study, spec)
    return spec.folder / "best.yaml"


def describe_result(trial: FrozenTrial) -> str:
    """The result of a trial in words, without its score."""
    if trial.state != TrialState.FAIL:
        return trial.state.name.lower()
    if is_finished(trial):
        return f"failed: {trial.user_attrs.get('reason', 'its worker was killed')}"
    fault = trial.user_attrs.get("fault")
    return f"stopped by an error, to be run again: {fault}" if fault else "stopped, to be run again"


def compare_with_recipe(study: Study, spec: StudySpec) -> str:
    """Whether a trial beat the settings that the study started from, in a sentence."""
    outside = spec.space.outside(spec.config)
    if outside:
        settings = ", ".join(f"{key}={value}" for key, value in outside.items())
        return f"The recipe was not tried: the space does not contain its {settings}."
    best, *others = ranked(study)
    recipe = next((trial for trial in (best, *others) if "recipe" in trial.user_attrs), None)
    if recipe is None:
        return "The recipe is not compared: its trial was not completed."
    num_images = best.user_attrs["num_images"]
    images = f"{num_images} validation image{'' if num_images == 1 else 's'}"
    if best.number == recipe.number:
        return f"No trial beat the recipe (trial {best.number}, Dice {best.values[0]:.4f})."
    return (
        f"Trial {best.number} beats the recipe by {best.values[0] - recipe.values[0]:.4f} (Dice "
        f"{best.values[0]:.4f} against {recipe.values[0]:.4f} of trial {recipe.number}), as the "
        f"best of {len(others) + 1} on {images}: no proof that it is better on others."
    )


def common_reasons(study: Study) -> str:
    """The most frequent reasons of failed trials, each with its count; pruned ones are counted."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]
    counts = Counter(map(describe_result, trials)).most_common(NUM_REASONS)
    return ", ".join(f"{count} {result}" for result, count in counts)


def _write_best(study: Study, spec: StudySpec, best: FrozenTrial) -> None:
    num_threads = best.user_attrs.get("threads")
    changes = {"runs_dir": "runs", "name": None, "train.num_threads": num_threads}
    config = with_overrides(spec.trial_config(best.params), changes)
    path = spec.folder / "best.yaml"
    folds = f" --folds {spec.num_folds} --fold all" if spec.num_folds else ""
    comparison = compare_with_recipe(study, spec)
    header = (
        f"# Trial {best.number} of study '{spec.name}': validation foreground Dice "
        f"{best.values[0]!r}\n"
        f"# The same score again, to the last digit on the CPU: acdc-train --config {path}{folds}\n"
        f"# {comparison}\n"
    )
    write_text(path, header + dump_yaml(config))


def _write_table(study: Study, spec: StudySpec) -> None:
    """trials.csv: a row for every trial but those that never began."""
    keys, goals = list(spec.space.entries), ["dice"]
    front: set[int] = set()
    if spec.pareto:
        goals.append(spec.pareto)
        front = {trial.number for trial in study.best_trials} if ranked(study) else set()
    columns = ["trial", "result", *goals, *(["pareto"] if spec.pareto else [])]
    rows: list[list[Any]] = [[*columns, *keys, "seconds", "retry_of"]]
    for trial in study.get_trials(deepcopy=False):
        if not trial.params:
            continue
        settings, attrs = spec.space.values_of(trial.params), trial.user_attrs
        row = [trial.number, describe_result(trial), *(trial.values or [""] * len(goals))]
        if spec.pareto:
            row.append(str(trial.number in front).lower())
        row += [settings.get(key, "") for key in keys]
        rows.append([*row, attrs.get("seconds", ""), attrs.get("retry_of", "")])
    write_table(spec.folder / "trials.csv", rows)


def _write_hparams(study: Study, spec: StudySpec) -> None:
    folder = spec.folder / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        for trial in ranked(study):
            params = {
                key: "null" if value is None else value for key, value in trial.params.items()
            }
            dice = {"hparam/dice": trial.values[0]}
            writer.add_hparams(params, dice, run_name=f"trial-{trial.number:04d}")


def _write_page(study: Study, spec: StudySpec, best: FrozenTrial) -> None:
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]
    num_by_state = Counter(trial.state.name.lower() for trial in trials)
    states = ", ".join(f"{num_by_state[state]} {state}" for state in ("complete", "pruned", "fail"))
    score = "the epoch with the best validation foreground Dice"
    protocol = {
        "Best validation Dice": f"{best.values[0]:.4f} (foreground mean; trial {best.number})",
        "Its settings": describe_settings(best),
        "Recipe": compare_with_recipe(study, spec),
        "Trials": f"{len(trials)}: {states}",
        "Objective": f"mean over {spec.num_folds} folds" if spec.num_folds else score,
        "Second objective": spec.pareto or "none",
        "Sampler and pruner": f"{spec.sampler}, {spec.pruner}; seed {spec.seed}",
        "Note": "the best of many scores on one validation set is too high an estimate; the test "
        "set decides",
    }
    complete = ranked(study)
    if len(complete) < 2:
        protocol["Plots"] = "none: two complete trials are needed at least"
    for rank, trial in enumerate(complete[:NUM_LISTED], start=1):
        result = f"Dice {trial.values[0]:.4f}: {describe_settings(trial)}"
        protocol[f"Rank {rank}: trial {trial.number}"] = result
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    run = {
        "study": spec.name,
        "storage": "database" if spec.storage else "journal.log",
        "failed trials": {f"trial {trial.number}": describe_result(trial) for trial in failed},
    }
    write_report(
        spec.folder / "report.html",
        title=f"Study {spec.name}: {spec.config.model.name}",
        config=to_dict(spec.trial_config(best.params)),
        run=run,
        protocol=protocol,
        history=[],
        figures=draw_study(study, spec),
    )


def describe_settings(trial: FrozenTrial) -> str:
    """The drawn settings of a trial in one line."""
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in trial.params.items()
    )


def draw_study(study: Study, spec: StudySpec) -> dict[str, Figure]:
    """Optuna's plots of the Dice by caption; those that the trials suffice for."""
    complete = ranked(study)
    if len(complete) < 2:
        return {}
    dice: dict[str, Any] = {"target_name": "Dice"}
    if spec.pareto:
        dice["target"] = lambda trial: trial.values[0]
    drawn = [key for key in spec.space.entries if any(key in trial.params for trial in complete)]
    figures = {}
    style: Any = {"backend": "agg", "figure.constrained_layout.use": True}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        important = _most_important(study, spec)
        figures["History"] = _figure(plots.plot_optimization_history(study, **dice))
        if spec.pareto:
            axes = plots.plot_pareto_front(study, target_names=["Dice", spec.pareto])
            figures["Pareto front"] = _figure(axes)
        elif spec.pruner != "none":
            axes = plots.plot_intermediate_values(study)
            axes.legend([]).remove()  # it would name every trial
            figures["Dice by step (twentieths of a trial's own epochs)"] = _figure(axes)
        if important:
            axes = plots.plot_param_importances(study, target=_cost(spec), target_name="Dice")
            figures["Importances"] = _figure(axes)
        axes = plots.plot_parallel_coordinate(study, **dice)
        names = [_uncut(label.get_text(), drawn) for label in axes.get_xticklabels()]
        axes.set_xticks(axes.get_xticks(), names, rotation=0, ha="center")
        figures["Parallel coordinates"] = _figure(axes)
        for start in range(0, len(drawn), SLICES_PER_ROW):
            row = drawn[start : start + SLICES_PER_ROW]
            grid = plots.plot_slice(study, params=row, **dice)
            figures[f"Slices: {', '.join(row)}"] = _figure(grid, width=3.6 * len(row) + 1)
        if len(important) > 1:
            grid = plots.plot_contour(study, params=important[:NUM_CONTOURED], **dice)
            figures["Contour"] = _figure(grid, height=5 if len(important) == 2 else 10)
    return figures


def _cost(spec: StudySpec) -> Any:
    """The importance evaluator takes a target to minimize; with one goal it knows the direction."""
    return (lambda trial: -trial.values[0]) if spec.pareto else None


def _most_important(study: Study, spec: StudySpec) -> list[str]:
    """Settings by their share in what separates good trials from the others (PED-ANOVA, Watanabe et
    al. 2023); empty where nothing tells.
    """
    try:
        return list(optuna.importance.get_param_importances(study, target=_cost(spec)))
    except (RuntimeError, ValueError):
        return []


def _figure(axes: Any, *, width: float = 10, height: float = 4.5) -> Figure:
    """The figure of one axes or an array of them, detached from pyplot."""
    from matplotlib import pyplot

    first = axes.flat[0] if hasattr(axes, "flat") else axes
    figure: Figure = first.figure
    figure.set_size_inches(width, height)
    pyplot.close(figure)
    for panel in figure.axes:
        for side in ("left", "center"):
            panel.set_title("", loc=side)
        _restyle(panel)
    figure.suptitle("")
    figure.set_facecolor("white")
    return figure


def _uncut(label: str, names: Sequence[str]) -> str:
    """The setting whose name Optuna cut to this label."""
    start = label.removesuffix("...")
    return next((name for name in names if start != label and name.startswith(start)), label)


def _restyle(panel: Any) -> None:
    """The colors of a run's report, and ticks of log axes at the powers of ten and few between."""
    panel.set_facecolor("white")
    panel.tick_params(labelsize=8, colors=INK)
    panel.grid(color="#e6eaee", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[:].set_color(GRAY)
    for axis in (panel.xaxis, panel.yaxis):
        axis.label.set(fontsize=9, color=INK)
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
    if panel.get_xscale() == "log":
        panel.tick_params(axis="x", labelrotation=45)
