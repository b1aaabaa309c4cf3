import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from acdc_seg.errors import DataError
from acdc_seg.labels import LV
from acdc_seg.report.clinical import draw_agreement, draw_bullseye, draw_volumes
from acdc_seg.report.style import page_svg

CURVES = {"lv": [120, 60, 90], "rv": [130, 0, 100], "myo": [90, 91, 92]}


def lines_of(figure, label):
    return [
        line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_label() == label
    ]


def texts_of(figure):
    return {text.get_text(): text for text in figure.axes[0].texts}


def test_volumes_by_frame_with_phases_and_gaps():
    figure = draw_volumes(CURVES, ed=0, es=1)
    assert lines_of(figure, "lv") == [[[1, 120], [2, 60], [3, 90]]]
    (rv,) = lines_of(figure, "rv")
    assert (rv[0], rv[2]) == ([1, 130], [3, 100])
    assert math.isnan(rv[1][1])  # absent there
    assert lines_of(figure, "ED") == [[[1, 120]], [[1, 130]]]
    assert lines_of(figure, "ES") == [[[2, 60]]]
    assert figure.axes[0].lines[0].get_color() == "#ea4335"
    assert to_rgb("#ea4335") == pytest.approx(tuple(part / 255 for part in LV.color))
    assert set(texts_of(figure)) == {"ED", "ES", "LV", "RV"}
    assert figure.axes[0].get_xlabel() == "frame"
    assert figure.axes[0].get_ylim()[0] == 0


def test_volumes_by_time():
    figure = draw_volumes(CURVES, frame_seconds=0.03)
    assert [x for x, _ in lines_of(figure, "lv")[0]] == pytest.approx([0, 30, 60])
    assert figure.axes[0].get_xlabel() == "time (ms)"
    assert lines_of(figure, "ED") == []


def test_names_are_beside_the_ends_of_their_lines():
    figure = draw_volumes({"lv": [120, 60, 30], "rv": [130, 60, 140], "myo": [1, 1, 1]})
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    height = texts_of(figure)["LV"].get_position()[1]
    assert height * (high - low) + low == pytest.approx(30)


def test_an_empty_cine_has_axes():
    figure = draw_volumes({"lv": [0, 0], "rv": [0, 0], "myo": [0, 0]})
    assert texts_of(figure) == {}


def test_bullseye_has_the_values_of_the_segments_where_they_are():
    figure = draw_bullseye([float(number) for number in range(1, 17)])
    places = {name: text.get_position() for name, text in texts_of(figure).items()}
    assert places["1.0"] == pytest.approx((0, 5 / 6))  # basal anterior, above
    assert places["2.0"][0] < 0 < places["2.0"][1]  # basal anteroseptal, left above
    assert places["10.0"] == pytest.approx((0, -1 / 2))  # mid inferior, below
    assert places["12.0"][0] > 0  # mid anterolateral, right
    assert places["14.0"] == pytest.approx((-0.2, 0))  # apical septal
    assert places["septal"][0] < -1
    assert len(figure.axes[0].patches) == 16


def test_bullseye_colors_follow_the_limits_and_blanks_have_none():
    values = [4.0, 16.0, 30.0, None, *[10.0] * 12]
    colors = [patch.get_facecolor() for patch in draw_bullseye(values).axes[0].patches]
    brightness = [sum(color[:3]) for color in colors]
    assert brightness[0] > brightness[4] > brightness[1]
    assert colors[1] == colors[2]  # beyond the limit
    assert colors[3][3] == 0
    assert texts_of(draw_bullseye(values))["–"].get_position()[1] < 0
    assert texts_of(draw_bullseye(values))["30.0"].get_color() == "white"
    other = draw_bullseye(values, limits=(16, 30)).axes[0].patches
    assert other[1].get_facecolor() == other[0].get_facecolor()
    with pytest.raises(DataError, match="2 values, expected 16"):
        draw_bullseye([1, 2])


def test_agreement_has_means_differences_bias_and_limits():
    figure = draw_agreement([11, None, 19, 33], [10, 4, 20, 30], name="LVEF", unit="%")
    points, zero, *levels = figure.axes[0].lines
    assert points.get_xydata().tolist() == [[10.5, 1], [19.5, -1], [31.5, 3]]
    assert zero.get_ydata()[0] == 0
    assert [line.get_ydata()[0] for line in levels] == pytest.approx([1, 4.92, -2.92])
    assert list(texts_of(figure)) == ["bias: +1.0", "+1.96 SD: +4.9", "−1.96 SD: −2.9"]
    # r = 220 / sqrt(248 * 200)
    assert figure.axes[0].get_title(loc="left") == "LVEF, 3 cases, r = 0.988"
    low, high = figure.axes[0].get_ylim()
    upper = texts_of(figure)["+1.96 SD: +4.9"].get_position()[1]
    assert upper * (high - low) + low == pytest.approx(4.92)


def test_agreement_by_group():
    figure = draw_agreement([1, 2, 3], [1, 1, 1], name="EF", unit="%", groups=["NOR", "DCM", "NOR"])
    assert lines_of(figure, "NOR") == [[[1, 0], [2, 2]]]
    assert lines_of(figure, "DCM") == [[[1.5, 1]]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["NOR", "DCM"]


def test_agreement_of_nothing_and_of_one():
    nothing = draw_agreement([None], [1], name="EF", unit="%")
    assert nothing.axes[0].get_title(loc="left") == "EF, 0 cases"
    assert list(texts_of(draw_agreement([3], [1], name="EF", unit="%"))) == ["bias: +2.0"]
    with pytest.raises(DataError, match="2 measured and 1 true"):
        draw_agreement([3, 4], [1], name="EF", unit="%", groups=["NOR"])


def test_figures_are_parts_of_a_page():
    figures = [
        draw_volumes(CURVES, ed=0, es=1),
        draw_bullseye([None] * 16),
        draw_agreement(np.array([1.0, 2]), np.array([1.0, 1]), name="EF", unit="%"),
    ]
    for figure in figures:
        assert page_svg(figure).startswith("<svg")
