"""Which trials keep their weights."""

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acdc_seg.tuning.objective import run_folder
from acdc_seg.tuning.spec import Plan

NUM_KEPT = 3
"""Trials whose checkpoints stay: the best few."""


def ranked(study: Study) -> list[FrozenTrial]:
    """Complete trials, best Dice first, the earlier one where two are equal."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))


def keep_best_checkpoints(study: Study, plan: Plan) -> None:
    """Deletes the weights of all ended trials but the best few; everything else in their run
    folders stays.
    """
    kept = {trial.number for trial in ranked(study)[:NUM_KEPT]}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and trial.number not in kept:
            for path in run_folder(plan, trial.number).rglob("*.pt"):
                path.unlink(missing_ok=True)
