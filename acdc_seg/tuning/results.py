"""Files of a study: best.yaml, trials.csv, the page, and TensorBoard's hyperparameter table."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial
from torch.utils.tensorboard import SummaryWriter

from acdc_seg.config import dump_yaml, with_overrides
from acdc_seg.files import write_table, write_text
from acdc_seg.tuning.spec import StudySpec
from acdc_seg.tuning.study_page import write_study_page
from acdc_seg.tuning.trials import compare_with_recipe, describe_result, is_finished, ranked

NUM_REASONS = 3


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
    write_study_page(study, spec, best)
    _write_hparams(study, spec)
    return spec.folder / "best.yaml"


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
