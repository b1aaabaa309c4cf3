from itertools import pairwise

import matplotlib.pyplot as plt
import pytest

from acdc_seg.errors import DataError
from acdc_seg.report.style import (
    ACCENT,
    INK,
    hex_color,
    new_figure,
    page_svg,
    save_figure,
    spread,
    style_axes,
)


def make_figure():
    figure, axes = new_figure()
    axes.plot([1, 2], [3, 4], color=ACCENT)
    style_axes(axes, xlabel="epoch")
    return figure


def test_figures_on_a_page_take_its_colors_and_font_and_repeat():
    svg = page_svg(make_figure())
    assert svg.startswith("<svg")
    assert "var(--accent)" in svg
    assert "var(--font)" in svg
    assert "DejaVu" not in svg
    assert INK not in svg
    assert "http" not in svg
    assert page_svg(make_figure()) == svg


def test_figures_as_files_are_on_white_with_their_own_colors(tmp_path):
    save_figure(make_figure(), tmp_path / "figures" / "loss")
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "loss.png",
        "loss.svg",
    ]
    assert ACCENT in (tmp_path / "figures" / "loss.svg").read_text()
    assert plt.imread(tmp_path / "figures" / "loss.png")[0, 0].tolist() == [1, 1, 1, 1]


def test_a_figure_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "figures").touch()
    with pytest.raises(DataError, match=r"loss\.svg: cannot write"):
        save_figure(make_figure(), tmp_path / "figures" / "loss")


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([0.1, 0.5], [0.1, 0.5]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.9, 0.1, 0.12], [0.86, 0.06, 0.16]),
    ],
)
def test_names_beside_lines_are_moved_apart(positions, expected):
    assert spread(positions, 0.1) == pytest.approx(expected, abs=0.05)
    moved = sorted(spread(positions, 0.1))
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(moved))


def test_colors_in_hexadecimal():
    assert hex_color((255, 0, 16)) == "#ff0010"
    assert hex_color(None) == ACCENT
