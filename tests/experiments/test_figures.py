"""Figures of experiments: what they show where."""

import numpy as np
import pytest
from tiny_experiments import RATES, make_result

from acdc_seg.config.experiment import ExperimentFile
from acdc_seg.experiments.charts import draw_axis, draw_cost, draw_scores
from acdc_seg.experiments.compare import VariantSummary
from acdc_seg.experiments.curves import draw_crossing, draw_curves, draw_dice
from acdc_seg.experiments.drawing import Shown
from acdc_seg.experiments.figures import CAPTIONS, FIGURES, draw_figures
from acdc_seg.experiments.jobs import run_job
from acdc_seg.experiments.outputs import summarize_variants, write_outputs
from acdc_seg.experiments.sweep import JobState
from acdc_seg.experiments.variants import Variant

RATES_OF = {"0.1": 0.1, "0.001": 0.001, "1e-5": 1e-5}


def shown(summaries, *, settings=None, **content):
    experiment = ExperimentFile(title="t", variants={"x": {}}, **content)
    return Shown(experiment, summaries, settings or {})


def summary(name, *results, group=""):
    return VariantSummary(Variant(name, {}, group, name), results or (make_result([0.5, 0.7]),))


@pytest.fixture
def three():
    return [summary(name) for name in RATES_OF]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_losses_are_side_by_side_on_shared_axes_with_the_best_epoch_marked(three):
    train, val = draw_curves(shown(three)).axes
    assert train.get_ylim() == val.get_ylim()
    assert [axes.get_title("left") for axes in (train, val)] == ["training loss", "validation loss"]
    assert texts(val) == list(RATES_OF)
    line, dot = val.lines[:2]
    assert line.get_xydata().tolist() == [[1, 0.5], [2, 0.3], [3, 0.4]]
    assert dot.get_xydata().tolist() == [[2, 0.3]]
    assert len({line.get_color() for line in train.lines}) == 3


def test_seeds_are_a_mean_in_a_band():
    results = make_result([0.5], losses=(1, 2, 3)), make_result([0.5], losses=(3, 4, 5))
    _, val = draw_curves(shown([summary("a", *results)])).axes
    assert val.lines[0].get_ydata().tolist() == [2, 3, 4]
    (band,) = val.collections
    assert band.get_paths()[0].get_extents().intervaly.tolist() == [1, 5]


def test_groups_have_rows_of_their_own_and_the_colors_of_their_labels():
    rows = [
        VariantSummary(Variant(f"{group}, {name}", {}, group, name), (make_result([0.5]),))
        for group in ("big", "small")
        for name in ("0", "1")
    ]
    grid = draw_curves(shown(rows, group_by=None)).axes
    assert [axes.get_title("left") for axes in grid[::2]] == [
        "training loss, big",
        "training loss, small",
    ]
    big, small = ([line.get_color() for line in axes.lines] for axes in grid[::2])
    assert big == small
    assert len(draw_dice(shown(rows)).axes) == 2


def test_labels_of_close_ends_do_not_overlap():
    rows = [summary(str(number)) for number in range(8)]
    (axes,) = draw_dice(shown(rows)).axes
    heights = np.sort([text.get_position()[1] for text in axes.texts])
    assert np.diff(heights).min() > 0.02
    assert heights.min() >= 0


def test_a_training_that_diverges_does_not_flatten_the_others(three):
    wild = summary("wild", make_result([0.1], losses=(1e3, 1e6, 1e9)))
    _, val = draw_curves(shown([*three, wild])).axes
    assert val.get_ylim()[1] < 50
    assert min(text.get_position()[1] for text in val.texts) >= 0
    assert max(text.get_position()[1] for text in val.texts) <= 1


def test_losses_along_a_rate_are_over_its_negative_logarithm(three):
    losses, dice = draw_axis(shown(three, settings=RATES_OF, axis="optimizer.lr")).axes
    assert losses.get_xlabel() == "-log10(optimizer.lr)"
    train, val = losses.lines
    assert val.get_xydata().tolist() == [[1, 0.3], [3, 0.3], [5, 0.3]]
    assert train.get_ydata().tolist() == [0.15] * 3
    assert dice.lines[0].get_ydata().tolist() == pytest.approx([0.6] * 3)


def test_other_settings_are_shown_as_they_are(three):
    settings = dict(zip(RATES_OF, (1, 2, 3), strict=True))
    losses, _ = draw_axis(shown(three, settings=settings, axis="model.depth")).axes
    assert losses.get_xlabel() == "model.depth"
    assert losses.lines[0].get_xdata().tolist() == [1, 2, 3]


def test_groups_along_a_setting_are_compared_by_quantities_that_all_have():
    rows = [
        VariantSummary(
            Variant(f"{group}{beta}", {}, group, str(beta)),
            (make_result([0.5], cross_entropy=beta + 0.1),),
        )
        for group in ("a", "b")
        for beta in (0, 1)
    ]
    settings = {row.variant.name: float(row.variant.label) for row in rows}
    entropy, dice, iou = draw_axis(shown(rows, settings=settings, axis="loss.lambda_ce")).axes
    assert entropy.lines[0].get_xydata().tolist() == [[0, 0.1], [1, 1.1]]
    assert (dice.get_title("left"), texts(iou)) == ("Dice", ["a", "b"])


@pytest.mark.parametrize(
    ("gaps", "epoch", "words"),
    [
        ([-1] * 10 + [1] * 10, 11, "crosses at 11"),
        ([-1] * 8 + [1, 1, -1, -1] + [1] * 8, 11, "crosses at 11"),
        ([1] * 20, 1, "above from the start"),
        ([-1] * 20, None, "no crossing"),
    ],
)
def test_the_crossing_is_where_the_validation_loss_stays_above(gaps, epoch, words):
    losses = [5.0 + gap for gap in gaps]
    crossed = summary("a", make_result([0.5], losses=losses, train=[5.0] * 20, dice=[0.5] * 20))
    assert crossed.crossing_epoch == epoch
    (axes,) = draw_crossing(shown([crossed])).axes
    assert axes.get_title("left") == f"a: {words}"


def test_scores_have_intervals_seeds_and_the_studys_value():
    both = make_result([0.5, 0.5, 0.9, 0.9]), make_result([0.7, 0.7, 0.9, 0.9])
    (axes,) = draw_scores(shown([summary("x", *both)], study_dice={"x": 0.8})).axes
    interval, mean, seeds, study = (line.get_xdata() for line in axes.lines)
    assert list(interval) == pytest.approx([0.6, 0.9])
    assert list(mean) == pytest.approx([0.75])
    assert list(seeds) == pytest.approx([0.7, 0.8])
    assert list(study) == [0.8]
    assert "diamonds: the study" in axes.get_xlabel()


def test_cost_is_in_parameters_and_images_per_second(three):
    parameters, speed = draw_cost(shown(three, vote="all")).axes
    assert parameters.lines[1].get_xdata().tolist() == [1_000_000]
    assert speed.lines[1].get_xdata().tolist() == [4]
    assert texts(parameters) == list(RATES_OF)


def test_every_figure_has_a_caption():
    names = set(ExperimentFile.model_fields["figures"].annotation.__args__[0].__args__)
    assert names == set(CAPTIONS) == {*FIGURES, "predictions"}


def test_all_outputs_of_two_tiny_networks(plan_of):
    text = RATES + (
        "figures: [curves, dice, scores, axis, crossing, cost, predictions]\n"
        "axis: optimizer.lr\nvote: both\n"
    )
    plan = plan_of(text)
    states = [JobState(job, run_job(job, plan)) for job in plan.jobs]
    assert write_outputs(plan, states)[0].endswith("of one patient, so without an interval.")
    names = {path.name for path in (plan.folder / "figures").iterdir()}
    assert names == {f"{name}.{kind}" for name in CAPTIONS for kind in ("svg", "png")}
    rows = summarize_variants(plan, states)
    assert [row.variant.name for row in rows] == ["0.1", "0.01", "both"]
    pictures = draw_figures(plan, states, rows)["predictions"]
    assert [axes.get_title().partition("\n")[0] for axes in pictures.axes[:4]] == [
        *("image", "mask", "0.1", "0.01")
    ]
    title = pictures.axes[2].get_title()
    shown_id = pictures.axes[0].get_ylabel().partition("\n")[2]
    assert title.endswith(f"{rows[0].scores()[shown_id]:.3f}")
