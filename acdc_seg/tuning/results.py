"""What a study leaves in its folder: best.yaml, trials.csv, the page and TensorBoard's
hyperparameter table.
"""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import optuna
from matplotlib.figure import Figure
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from torch.utils.tensorboard import SummaryWriter

from acdc_seg.config import dump_yaml, to_dict, with_overrides
from acdc_seg.files import write_table, write_text
from acdc_seg.report.figures import ACCENT
from acdc_seg.report.page import write_report
from acdc_seg.tuning.checkpoints import ranked
from acdc_seg.tuning.objective import trial_config
from acdc_seg.tuning.queue import is_finished
from acdc_seg.tuning.spec import Plan
from acdc_seg.tuning.workers import settled

NUM_LISTED = 10
NUM_CONTOURED = 3
SLICES_IN_A_ROW = 3


def write_outcome(study: Study, plan: Plan) -> Path | None:
    """Writes all files of a study.

    Returns:
        best.yaml, or None where no trial is complete.

    Raises:
        DataError: A file cannot be written.
    """
    plan = settled(plan)
    _write_table(study, plan)
    best = next(iter(ranked(study)), None)
    if best is None:
        return None
    _write_best(best, plan)
    _write_page(study, plan, best)
    _write_hparams(study, plan)
    return plan.folder / "best.yaml"


def outcome_of(trial: FrozenTrial) -> str:
    """How a trial ended, in words."""
    if trial.state != TrialState.FAIL:
        return trial.state.name.lower()
    reason = trial.user_attrs.get("reason", "its worker was killed")
    return f"failed: {reason}" if is_finished(trial) else "stopped, to be run again"


def _write_best(best: FrozenTrial, plan: Plan) -> None:
    changes = {
        "runs_dir": "runs",
        "name": None,
        "train.num_threads": best.user_attrs.get("threads"),
    }
    config = with_overrides(trial_config(plan, plan.config, best.params), changes)
    path, folds = (
        plan.folder / "best.yaml",
        f" --folds {plan.folds} --fold all" if plan.folds else "",
    )
    head = [
        f"# Trial {best.number} of study '{plan.name}': validation foreground Dice "
        f"{best.values[0]!r}",
        f"# The same score again, to the last digit on the CPU: acdc-train --config {path}{folds}",
    ]
    write_text(path, "\n".join([*head, dump_yaml(config)]))


def _write_table(study: Study, plan: Plan) -> None:
    """trials.csv: a row for every trial but those that never began."""
    front = (
        {trial.number for trial in study.best_trials} if plan.pareto and ranked(study) else set()
    )
    keys = list(plan.space.entries)
    costs = [plan.pareto] if plan.pareto else []
    rows: list[list[Any]] = [
        [
            "trial",
            "outcome",
            "dice",
            *costs,
            *(["pareto"] if costs else []),
            *keys,
            "seconds",
            "retry_of",
        ]
    ]
    for trial in study.get_trials(deepcopy=False):
        if trial.params:
            values = [*(trial.values or []), *([""] * len(study.directions))][
                : len(study.directions)
            ]
            marks = [str(trial.number in front).lower()] if costs else []
            chosen = plan.space.values_of(trial.params)
            attrs = trial.user_attrs
            settings = [chosen.get(key, "") for key in keys]
            rows.append(
                [
                    trial.number,
                    outcome_of(trial),
                    *values,
                    *marks,
                    *settings,
                    attrs.get("seconds", ""),
                    attrs.get("retry_of", ""),
                ]
            )
    write_table(plan.folder / "trials.csv", rows)


def _write_hparams(study: Study, plan: Plan) -> None:
    folder = plan.folder / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        for trial in ranked(study):
            params = {
                key: value if isinstance(value, bool | int | float | str) else str(value)
                for key, value in trial.params.items()
            }
            writer.add_hparams(
                params, {"hparam/dice": trial.values[0]}, run_name=f"trial-{trial.number:04d}"
            )


def _write_page(study: Study, plan: Plan, best: FrozenTrial) -> None:
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]
    counts = {
        state: sum(trial.state == state for trial in trials)
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    }
    facts = {
        "Best validation Dice": f"{best.values[0]:.4f} (foreground mean; trial {best.number})",
        "Its settings": _settings(best, plan),
        "Trials": f"{len(trials)}: "
        + ", ".join(f"{count} {state.name.lower()}" for state, count in counts.items()),
        "Objective": f"mean over {plan.folds} folds"
        if plan.folds
        else "the epoch with the best validation foreground Dice",
        "Second objective": plan.pareto or "none",
        "Sampler and pruner": f"{plan.sampler}, {plan.pruner}; seed {plan.seed}",
        "Note": "the best of many scores on one validation set is too high an estimate; the test "
        "set decides",
    }
    listed = {
        f"trial {trial.number}": f"Dice {trial.values[0]:.4f}: {_settings(trial, plan)}"
        for trial in ranked(study)[:NUM_LISTED]
    }
    failed = {
        f"trial {trial.number}": outcome_of(trial)
        for trial in trials
        if trial.state == TrialState.FAIL
    }
    write_report(
        plan.folder / "report.html",
        title=f"Study {plan.name}: {plan.config.model.name}",
        config=to_dict(trial_config(plan, plan.config, best.params)),
        run={
            "study": plan.name,
            "storage": "database" if plan.storage else "journal.log",
            "best trials": listed,
            "failed trials": failed,
        },
        protocol=facts,
        history=[],
        figures=draw_study(study, plan),
    )


def _settings(trial: FrozenTrial, plan: Plan) -> str:
    chosen = plan.space.values_of(trial.params)
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in chosen.items()
    )


def draw_study(study: Study, plan: Plan) -> dict[str, Figure]:
    """History, parallel coordinates, importances, slices and contour of the Dice, by caption; those
    that the trials suffice for.
    """
    from optuna.visualization import matplotlib as draw

    figures: dict[str, Figure] = {}
    goal: dict[str, Any] = {
        "target": (lambda trial: trial.values[0]) if plan.pareto else None,
        "target_name": "Dice",
    }
    if len(ranked(study)) < 2:
        return figures
    with (
        matplotlib.rc_context({"backend": "agg", "figure.constrained_layout.use": True}),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        figures["History"] = _figure(draw.plot_optimization_history(study, **goal), size=(10, 4))
        if plan.pareto:
            figures["Pareto front"] = _figure(
                draw.plot_pareto_front(study, target_names=["Dice", plan.pareto]), size=(10, 5)
            )
        elif plan.pruner != "none":
            axes = draw.plot_intermediate_values(study)
            if legend := axes.get_legend():
                legend.remove()  # it would name every trial
            figures["Dice by step (twentieths of a trial's own epochs)"] = _figure(
                axes, size=(10, 4)
            )
        important = _importances(study, plan)
        if important:
            figures["Importances"] = importance_bars(important)
        figures["Parallel coordinates"] = _figure(
            draw.plot_parallel_coordinate(study, **goal), size=(11, 5)
        )
        drawn = [
            key for key in plan.space.entries if any(key in trial.params for trial in ranked(study))
        ]
        for row in (
            drawn[start : start + SLICES_IN_A_ROW]
            for start in range(0, len(drawn), SLICES_IN_A_ROW)
        ):
            figures[f"Slices: {', '.join(row)}"] = _figure(
                draw.plot_slice(study, params=row, **goal), size=(3.6 * len(row) + 1, 4)
            )
        contoured = list(important)[:NUM_CONTOURED]
        if len(contoured) > 1:
            side = 5 if len(contoured) == 2 else 11
            figures["Contour"] = _figure(
                draw.plot_contour(study, params=contoured, **goal), size=(side * 1.3, side)
            )
    return figures


def _importances(study: Study, plan: Plan) -> dict[str, float]:
    """Share of each setting in what parts good trials from the others (PED-ANOVA, Watanabe et al.
    2023); empty where nothing tells.
    """
    costs: Any = (
        (lambda trial: -trial.values[0]) if plan.pareto else None
    )  # the evaluator takes a target for one to minimise
    try:
        return optuna.importance.get_param_importances(study, target=costs)
    except (RuntimeError, ValueError):
        return {}


def importance_bars(importances: Mapping[str, float]) -> Figure:
    """A bar for every setting, the most important on top."""
    figure = Figure(figsize=(10, 1 + 0.45 * len(importances)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(importances), list(importances.values()), color=ACCENT)
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel("share of the difference that a setting makes")
    axes.set_facecolor("white")
    axes.grid(False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _figure(axes: Any, *, size: tuple[float, float]) -> Figure:
    """The figure of one axes or an array of them, taken out of pyplot's hands."""
    from matplotlib import pyplot

    first = axes.flat[0] if hasattr(axes, "flat") else axes
    figure: Figure = first.figure
    figure.set_size_inches(*size)
    pyplot.close(figure)
    for each in figure.axes:
        each.set_facecolor("#f2f5f7")
        each.set_title("")
        each.tick_params(labelsize=8)
    figure.suptitle("")
    return figure
