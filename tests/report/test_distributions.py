import numpy as np
import pytest

from acdc_seg.report.distributions import (
    MAX_DOTS,
    draw_class_means,
    draw_confusion,
    draw_differences,
    draw_intervals,
    draw_reliability,
    draw_scores,
)


def rows_of(*dice):
    return [
        {"id": f"cmr{index}", "dice": {"rv": first, "lv": second}}
        for index, (first, second) in enumerate(dice)
    ]


def dots_of(axes):
    return [line for line in axes.lines if line.get_marker() == "o"]


def test_boxplot_has_a_dot_for_every_image_with_a_score():
    images = rows_of((0.1, 0.5), (0.2, None), (0.3, 1.0))
    (axes,) = draw_scores(images, "dice", label="Dice", colors={"lv": (0, 0, 255)}).axes
    dots = dots_of(axes)
    assert [line.get_xdata().tolist() for line in dots] == [[0.1, 0.2, 0.3], [0.5, 1.0]]
    assert dots[1].get_color() == "#0000ff"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rv", "lv"]


def test_boxplot_of_many_images_has_no_dots():
    images = rows_of(*[(0.5, 0.5)] * (MAX_DOTS + 1))
    assert dots_of(draw_scores(images, "dice", label="Dice", colors={}).axes[0]) == []


def test_confusion_shows_shares_of_the_masks():
    figure = draw_confusion(np.array([[75, 25], [0, 0]]), ["background", "rv"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["75.0%", "25.0%", "", ""]


def test_class_means_have_a_row_per_class_and_a_dot_per_run():
    (axes,) = draw_class_means({"a": {"rv": 0.5, "lv": 0.7}, "b": {"rv": 0.6, "lv": 0.8}}, "D").axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.5, 0.7], [0.6, 0.8]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rv", "lv"]


def test_differences_are_means_of_patients_sorted():
    (axes,) = draw_differences([0.2, 0.4, -0.1], ["p1", "p1", "p2"], label="Dice").axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([-0.1, 0.3])
    assert axes.get_xlabel() == "2 patients, sorted"


def test_intervals_are_lines_with_a_dot():
    (axes,) = draw_intervals({"held out": (0.1, -0.05, 0.25)}, "gain").axes
    assert list(axes.lines[0].get_xdata()) == [-0.05, 0.25]


def test_reliability_leaves_bins_of_few_pixels_out():
    bins = [
        {"confidence": 0.3, "accuracy": 0.0, "n": 1},
        {"confidence": 0.9, "accuracy": 0.8, "n": 5000},
    ]
    (axes,) = draw_reliability(bins, bins).axes
    assert axes.lines[1].get_xydata().tolist() == [[0.9, 0.8]]
