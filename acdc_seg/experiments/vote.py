"""Soft vote of all variants: the mean of their stored probabilities, scored as one more variant."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from acdc_seg.data.examples import read_example
from acdc_seg.data.source import open_source
from acdc_seg.ensembling.selection import CandidatePool, Selection
from acdc_seg.errors import DataError
from acdc_seg.experiments.plan import Job, Plan
from acdc_seg.experiments.results import SHOWN_METRICS, RunResult
from acdc_seg.experiments.sweep import JobState
from acdc_seg.inference.stored import load_probabilities
from acdc_seg.metrics.summary import without_void
from acdc_seg.training.finish import PROBABILITIES


def soft_votes(plan: Plan, states: Sequence[JobState]) -> list[RunResult]:
    """The vote of every seed and fold of which all variants are finished on this machine.

    A vote has no history; its parameters and time are the sums of its members'.
    """
    groups: defaultdict[tuple[int, int | None], list[JobState]] = defaultdict(list)
    for state in states:
        groups[state.job.config.seed, state.job.config.data.fold].append(state)
    votes = []
    for members in groups.values():
        results = [state.result for state in members if state.result is not None]
        if len(results) == len(members) > 1:
            images = _vote([(state.job, plan.run_folder(state.job)) for state in members])
            votes += [_combined(results, images)] if images else []
    return votes


def _vote(members: Sequence[tuple[Job, Path]]) -> list[dict[str, object]]:
    """Scores of the validation images; none where probabilities are not stored here."""
    try:
        stored = [load_probabilities(folder / PROBABILITIES) for _, folder in members]
    except DataError:
        return []
    config = members[0][0].config
    source = open_source(config.data, prepare_settings=config.prepare, classes=config.classes)
    records = source.split("val")
    examples = [read_example(each, data=config.data, classes=config.classes) for each in records]
    probabilities = [[part[record.id] for record in records] for part in stored]
    pool = CandidatePool(probabilities, examples, config.classes)
    scores = without_void(pool.image_scores(Selection((1,) * len(members))))
    return [
        {
            "id": score.id,
            "patient": score.patient,
            **{name: score.mean(name) for name in SHOWN_METRICS},
        }
        for score in scores
    ]


def _combined(results: Sequence[RunResult], images: list[dict[str, object]]) -> RunResult:
    return RunResult(
        history=[],
        images=images,
        cross_entropy=None,
        num_parameters=sum(result.num_parameters for result in results),
        num_images=results[0].num_images,
        seconds=sum(result.seconds for result in results),
        conditions=results[0].conditions,
    )
