import numpy as np
import pytest
from reports import make_scores

from acdc_seg.report.pictures import draw_cases, pick_cases, prediction_grid
from acdc_seg.runs.overlay import overlay

COLORS = ((0, 0, 0), (200, 0, 100), (0, 100, 0))


@pytest.mark.parametrize(
    ("masks", "columns"),
    [(True, ["image", "mask", "prediction"]), (False, ["image", "prediction"])],
)
def test_prediction_grid_shows_every_case_in_a_row(masks, columns):
    images = [np.eye(4), np.eye(4)[None]]
    labels = [np.zeros((4, 4), int), np.ones((4, 4), int)]
    figure = prediction_grid(
        images,
        labels,
        labels[::-1] if masks else None,
        colors=COLORS,
        names=("background", "rv", "lv"),
        titles=("cmr1", "cmr2"),
    )
    axes = np.array(figure.axes).reshape(2, len(columns))
    assert [each.get_title() for each in axes[0]] == columns
    assert [each.get_ylabel() for each in axes[:, 0]] == ["cmr1", "cmr2"]
    np.testing.assert_array_equal(
        axes[1, -1].images[0].get_array(), overlay(images[1], labels[1], colors=COLORS)
    )
    assert [text.get_text() for text in figure.legends[0].texts] == ["rv", "lv"]


def test_wide_pictures_leave_no_gaps():
    image, labels = np.zeros((3, 10, 40)), np.zeros((10, 40), int)
    options = {"colors": COLORS, "names": ("background", "rv", "lv"), "titles": ("a",)}
    wide = prediction_grid([image], [labels], [labels], **options).get_size_inches()
    square = prediction_grid([image[..., :10]], [labels[:, :10]], [labels[:, :10]], **options)
    assert wide[1] < square.get_size_inches()[1] - 1.5


def test_best_and_median_are_not_empty_and_no_case_is_shown_twice():
    scores, evidence = make_scores(error=1)  # the more wrong pixels the later the image
    assert pick_cases(scores) == {"best": "p0_0", "median": "p1_0", "worst": "p2_1"}
    titles = [axes.get_ylabel() for axes in draw_cases(scores, evidence).axes[::3]]
    assert titles[0] == f"best: Dice {scores.mean('p0_0'):.3f}\np0_0"
    single, _ = make_scores(num_patients=1, error=1, empty=False)
    assert pick_cases(single) == {"best": "p0_0", "worst": "p0_1"}
