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


def describe_result(trial: FrozenTrial) -> str:
    """The result of a trial in words, without its score."""
    if trial.state != TrialState.FAIL:
        return trial.state.name.lower()
    if is_finished(trial):
        return f"failed: {trial.user_attrs.get('reason', 'its worker was killed')}"
    fault = trial.user_attrs.get("fault")
    return f"stopped by an error, to be run again: {fault}" if fault else "stopped, to be run again"


def describe_settings(trial: FrozenTrial) -> str:
    """The drawn settings of a trial in one line."""
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in trial.params.items()
    )


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
