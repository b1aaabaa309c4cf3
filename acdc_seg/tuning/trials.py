"""Trials of a study: which count as finished, which are best, which keep their weights."""

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acdc_seg.tuning.spec import StudySpec

MAX_RETRIES = 2
"""Retries of a trial whose worker was killed; then the trial counts as failed."""
NUM_KEPT = 3
"""Best trials that keep their checkpoints."""


def is_finished(trial: FrozenTrial) -> bool:
    """Whether a trial counts: complete, pruned, or failed for a reason of its own (not because its
    worker was stopped or killed).
    """
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    attrs = trial.user_attrs
    killed_too_often = attrs.get("retries", 0) >= MAX_RETRIES and not attrs.get("released")
    return trial.state == TrialState.FAIL and ("reason" in attrs or killed_too_often)


def num_finished(study: Study) -> int:
    """Number of finished trials of a study."""
    return sum(map(is_finished, study.get_trials(deepcopy=False)))


def ranked(study: Study) -> list[FrozenTrial]:
    """Complete trials by descending Dice, the earlier one first where two are equal."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))


def keep_best_checkpoints(study: Study, spec: StudySpec) -> None:
    """Deletes the checkpoints of all ended trials, except best.pt of the best `NUM_KEPT`."""
    best = {trial.number for trial in ranked(study)[:NUM_KEPT]}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished():
            pattern = "last*.pt" if trial.number in best else "*.pt"
            for path in spec.run_folder(trial.number).rglob(pattern):
                path.unlink(missing_ok=True)
