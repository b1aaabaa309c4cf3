"""Everything that an experiment shows: tables, figures, page, and the conclusion."""

from collections.abc import Sequence

from acdc_seg.experiments.compare import VariantSummary, conclude
from acdc_seg.experiments.figures import draw_figures
from acdc_seg.experiments.page import write_experiment_page
from acdc_seg.experiments.plan import Plan
from acdc_seg.experiments.sweep import JobState
from acdc_seg.experiments.tables import write_tables
from acdc_seg.experiments.variants import Variant
from acdc_seg.experiments.vote import soft_votes
from acdc_seg.report.style import save_figure


def write_outputs(plan: Plan, states: Sequence[JobState]) -> list[str]:
    """Writes table.csv, table.md, the figures and report.html of what is finished.

    Returns:
        The sentences of the conclusion; none where nothing is finished.

    Raises:
        DataError: A file cannot be written.
    """
    summaries = summarize_variants(plan, states)
    if not any(summary.results for summary in summaries):
        return []
    write_tables(plan.folder, plan.experiment, summaries)
    figures = draw_figures(plan, states, summaries)
    for name, figure in figures.items():
        save_figure(figure, plan.folder / "figures" / name)
    conclusion = conclude(plan.experiment, summaries)
    write_experiment_page(plan, states, summaries, figures, conclusion)
    return conclusion


def summarize_variants(plan: Plan, states: Sequence[JobState]) -> list[VariantSummary]:
    """The results of every variant in the plan's order, and of the vote of all where one is asked
    for.
    """
    summaries = []
    for variant in plan.variants:
        own = [state for state in states if state.job.variant.name == variant.name]
        results = tuple(state.result for state in own if state.result is not None)
        failures = tuple(state.reason for state in own if state.reason is not None)
        summaries.append(VariantSummary(variant, results, failures, len(own)))
    if plan.experiment.vote:
        votes = tuple(soft_votes(plan, states))
        if votes:
            name = plan.experiment.vote
            variant = Variant(name, {}, label=name)
            summaries.append(VariantSummary(variant, votes, num_jobs=len(votes)))
    return summaries
