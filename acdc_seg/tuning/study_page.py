"""The page of a study: its result, its trials, and Optuna's plots."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import matplotlib
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots

from acdc_seg.config import dump_yaml
from acdc_seg.report.figures import Figures
from acdc_seg.report.page import column, row, table, write_page
from acdc_seg.report.style import GRAY, GRID, INK
from acdc_seg.tuning.spec import StudySpec
from acdc_seg.tuning.trials import (
    compare_with_recipe,
    describe_result,
    describe_settings,
    is_finished,
    ranked,
)

NUM_CONTOURED = 3
SLICES_PER_ROW = 3


def write_study_page(study: Study, spec: StudySpec, best: FrozenTrial) -> None:
    """Writes report.html into the study's folder; raises DataError where that fails."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]
    num_by_state = Counter(trial.state.name.lower() for trial in trials)
    states = ", ".join(f"{num_by_state[state]} {state}" for state in ("complete", "pruned", "fail"))
    protocol = {
        "Trials": f"{len(trials)}: {states}",
        "Objective": f"mean over {spec.num_folds} folds"
        if spec.num_folds
        else "the epoch with the best validation foreground Dice",
        "Second objective": spec.pareto or "none",
        "Sampler and pruner": f"{spec.sampler}, {spec.pruner}; seed {spec.seed}",
        "Storage": "database" if spec.storage else "journal.log",
    }
    drawn, figures = draw_study(study, spec), Figures()
    shown = {
        caption: figures.draw(caption, lambda figure=figure: figure)  # type: ignore[misc]
        for caption, figure in drawn.items()
    }
    write_page(
        spec.folder / "report.html",
        "study.html",
        title=f"Study {spec.name}: {spec.config.model.name}",
        subtitle=f"{len(trials)} trials of {len(spec.space.entries)} settings",
        best=f"{best.values[0]:.4f}",
        best_trial=best.number,
        best_settings=describe_settings(best),
        recipe=compare_with_recipe(study, spec),
        trials=_trial_table(study, spec),
        figures={caption: svg for caption, svg in shown.items() if svg},
        protocol=protocol,
        config=dump_yaml(spec.trial_config(best.params)),
        commands=f"acdc-train --config {spec.folder}/best.yaml",
    )


def _trial_table(study: Study, spec: StudySpec) -> dict[str, Any]:
    """A row for every finished trial, the best first."""
    complete = ranked(study)
    others = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if is_finished(trial) and trial.state != TrialState.COMPLETE
    ]
    keys = list(spec.space.entries)
    headings = [column("Trial", number=True), column("Dice", number=True), column("Result")]
    headings += [column(key) for key in keys]
    rows = []
    for trial in (*complete, *others):
        settings = spec.space.values_of(trial.params)
        dice = f"{trial.values[0]:.4f}" if trial.values else None
        result = "recipe" if "recipe" in trial.user_attrs else ""
        if trial.state != TrialState.COMPLETE:
            result = describe_result(trial)
        cells = [_short(settings[key]) if key in settings else "" for key in keys]
        rows.append(row([trial.number, dice, result, *cells], best=trial in complete[:1]))
    return table(headings, rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
            part = drawn[start : start + SLICES_PER_ROW]
            grid = plots.plot_slice(study, params=part, **dice)
            figures[f"Slices: {', '.join(part)}"] = _figure(grid, width=3.6 * len(part) + 1)
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
    figure.set_facecolor("none")
    return figure


def _uncut(label: str, names: Sequence[str]) -> str:
    """The setting whose name Optuna cut to this label."""
    start = label.removesuffix("...")
    return next((name for name in names if start != label and name.startswith(start)), label)


def _restyle(panel: Any) -> None:
    """The colors of a run's report, and ticks of log axes at the powers of ten and few between."""
    panel.set_facecolor("none")
    panel.tick_params(labelsize=8, colors=INK)
    panel.grid(color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[:].set_color(GRAY)
    legend = panel.get_legend()
    if legend is not None:
        legend.set_frame_on(False)
        legend.set(zorder=1)
        for text in legend.get_texts():
            text.set(fontsize=8, color=INK)
    for axis in (panel.xaxis, panel.yaxis):
        axis.label.set(fontsize=9, color=INK)
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
    if panel.get_xscale() == "log":
        panel.tick_params(axis="x", labelrotation=45)
