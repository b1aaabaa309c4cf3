"""Wall thickness against rings of known radii, and segments against the AHA's map."""

import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.labels import LV, MYO, RV
from acdc_seg.metrics.wall import (
    SEGMENTS,
    assign_segments,
    find_contour,
    measure_thickness,
    measure_wall,
)

OBLIQUE = np.array([[0.6, 0.5, 0.6], [-0.3, 0.8, -0.5], [-0.7, 0.1, 0.7]])
"""Columns are the directions of X, Y and Z in RAS+; right-handed."""


def grid(shape, spacing, center):
    """Coordinates in mm from a center in pixels."""
    x, y = np.indices(shape)
    return (x - center[0]) * spacing[0], (y - center[1]) * spacing[1]


def ring(inner, outer, *, spacing=(1, 1), shape=(56, 56), center=(27.6, 28.3)):
    """A slice with LV and myocardium of such radii in mm."""
    distance = np.hypot(*grid(shape, spacing, center))
    return np.select([distance < inner, distance < outer], [LV.value, MYO.value], 0)


def heart(thickness, *, radii=(16, 16, 15, 14, 13, 12), rv_angle=180):
    """Slices from base to apex, seen from the apex with X to the right and Y down.

    Args:
        thickness: In mm by angle in degrees, counterclockwise on the screen from X on.
        radii: Of the cavity by slice, in mm.
        rv_angle: Where the RV is.
    """
    x, y = grid((72, 72), (1, 1), (36, 36))
    distance, angle = np.hypot(x, y), np.degrees(np.arctan2(-y, x)) % 360
    turn = np.radians(rv_angle)
    rv = np.hypot(x - 29 * np.cos(turn), y + 29 * np.sin(turn)) < 5
    slices = []
    for radius in radii:
        wall = distance < radius + thickness(angle)
        labels = np.select([distance < radius, wall, rv], [LV.value, MYO.value, RV.value], 0)
        slices.append(labels.astype(np.uint8))
    return np.stack(slices, axis=-1)


@pytest.mark.parametrize("spacing", [(1, 1), (1.5, 1.5), (1.2, 1.8)])
@pytest.mark.parametrize(("inner", "wall"), [(5, 1.5), (5, 4), (10, 1), (10, 5), (12, 9)])
@pytest.mark.parametrize("shift", [(0.1, 0.2), (0.3, 0.45), (-0.2, 0.1)])
def test_rings(inner, wall, spacing, shift):
    """Radii in pixels of the longer side; no pixel is exactly on an edge."""
    pixel = max(spacing)
    labels = ring(
        inner * pixel,
        (inner + wall) * pixel,
        spacing=spacing,
        shape=(72, 56),
        center=(36 + shift[0], 28 + shift[1]),
    )
    points, thickness = measure_thickness(labels, spacing)
    assert thickness.mean() == pytest.approx(wall * pixel, abs=0.3 * pixel)
    assert np.abs(thickness - wall * pixel).max() < 0.7 * pixel
    radii = np.hypot(*points.T)
    assert np.abs(radii - inner * pixel).max() < 0.75 * pixel


def test_a_contour_is_between_pixels():
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    points = find_contour(square)
    left = points[(points[:, 0] < 7) & (np.abs(points[:, 1] - 9.5) < 2)]
    assert left[:, 0] == pytest.approx(4.5, abs=1e-3)
    single = np.zeros((3, 3), bool)
    single[0, 1] = True  # at the border, and too small to be smoothed
    assert sorted(map(tuple, find_contour(single).tolist())) == [
        (-0.5, 1),
        (0, 0.5),
        (0, 1.5),
        (0.5, 1),
    ]


def test_open_walls_holes_and_specks_do_not_count():
    labels = ring(10, 15)
    whole = measure_thickness(labels, (1, 1))[1]
    broken = labels.copy()
    broken[(labels == MYO.value) & (np.indices(labels.shape)[0] > 27)] = 0
    points, half = measure_thickness(broken, (1, 1))
    assert 0.4 < len(half) / len(whole) < 0.6
    assert points[:, 0].max() < 4
    labels[28, 28] = MYO.value  # a papillary muscle
    labels[2, 2] = LV.value
    assert measure_thickness(labels, (1, 1))[1] == pytest.approx(whole)


def test_no_ring():
    for labels in (np.zeros((9, 9)), np.full((9, 9), LV.value), ring(1.2, 6)):
        points, thickness = measure_thickness(labels, (1, 1))
        assert (points.shape, thickness.shape) == ((0, 2), (0,))


@pytest.mark.parametrize(
    ("angle", "basal", "apical"),
    [
        # 0 at the middle of the septum, 90 anterior
        (10, "basal anteroseptal", "apical septal"),
        (-10, "basal inferoseptal", "apical septal"),
        (90, "basal anterior", "apical anterior"),
        (-90, "basal inferior", "apical inferior"),
        (170, "basal anterolateral", "apical lateral"),
        (-170, "basal inferolateral", "apical lateral"),
        (50, "basal anteroseptal", "apical anterior"),
        (70, "basal anterior", "apical anterior"),
    ],
)
def test_segments(angle, basal, apical):
    angles = np.array([float(angle)])
    numbers = {region: assign_segments(angles, region)[0] for region in ("base", "mid", "apex")}
    assert SEGMENTS[numbers["base"] - 1] == basal
    assert SEGMENTS[numbers["mid"] - 1] == basal.replace("basal", "mid")
    assert SEGMENTS[numbers["apex"] - 1] == apical


def thick_top(angle):
    """8 mm in the half above, 5 mm below."""
    return np.where(angle < 180, 8.0, 5.0)


def test_an_even_wall():
    wall = measure_wall(heart(lambda angle: 6.0 + 0 * angle), (1, 1, 8))
    assert wall.mean == pytest.approx([6] * 16, abs=0.3)
    assert all(6 <= value < 6.7 for value in wall.max)
    columns = wall.to_dict()
    assert list(columns)[::16] == ["WT_MEAN_1", "WT_MAX_1"]
    assert (len(columns), columns["WT_MAX_16"]) == (32, wall.max[15])


def test_a_standard_view_has_the_anterior_wall_above():
    """The RV on the left: the upper half is segments 1, 2, 6 and so on."""
    wall = measure_wall(heart(thick_top), (1, 1, 8))
    thick = {number for number in range(1, 17) if wall.mean[number - 1] > 7}
    assert thick == {1, 2, 6, 7, 8, 12, 13}
    thin = {number for number in range(1, 17) if wall.mean[number - 1] < 6}
    assert thin == {3, 4, 5, 9, 10, 11, 15}


def test_the_septum_is_where_the_rv_is():
    def thick_sector(angle):
        return np.where(np.abs(angle - 60) < 28, 9.0, 5.0)

    wall = measure_wall(heart(thick_sector, rv_angle=90), (1, 1, 8))
    # 30 degrees clockwise of the RV: towards the anterior wall
    assert np.argsort(wall.mean[:6])[-1] + 1 == 2
    assert wall.mean[1] > 6.8
    assert wall.mean[2] < 6


def anterior_is_thick(labels, affine=None):
    wall = measure_wall(labels, (1, 1, 8), affine=affine)
    return wall.mean[0] > wall.mean[3] + 2


def test_the_order_of_slices_does_not_matter():
    """A heart with a thick anterior wall, by its base and apex."""
    labels = heart(thick_top)
    assert anterior_is_thick(labels)
    assert anterior_is_thick(labels[..., ::-1])
    wall, turned = (measure_wall(part, (1, 1, 8)) for part in (labels, labels[..., ::-1]))
    assert wall.mean == pytest.approx(turned.mean)


def test_an_oblique_affine_tells_anterior_from_inferior():
    """Seen from the apex with X right and Y down, the right-handed Z points to the base."""
    labels = heart(thick_top)
    assert anterior_is_thick(labels[..., ::-1], OBLIQUE)
    assert not anterior_is_thick(labels, OBLIQUE)
    mirror = np.diag([-1, 1, 1])
    assert anterior_is_thick(labels[::-1, :, ::-1], OBLIQUE @ mirror)
    assert anterior_is_thick(labels, OBLIQUE @ np.diag([1, 1, -1]))


def test_an_affine_along_the_body_is_used_for_flips_alone():
    labels, written = heart(thick_top), np.diag([-1.5, -1.5, 8, 1])
    assert anterior_is_thick(labels, written)
    assert anterior_is_thick(labels[..., ::-1], written @ np.diag([1, 1, -1, 1]))
    assert anterior_is_thick(labels[::-1], written @ np.diag([-1, 1, 1, 1]))
    assert anterior_is_thick(labels.transpose(1, 0, 2), written[:, [1, 0, 2, 3]])


def test_what_cannot_be_measured_is_none():
    labels = heart(thick_top)
    alone = np.where(labels == RV.value, 0, labels)
    assert set(measure_wall(alone, (1, 1, 8)).mean) == {None}
    assert set(measure_wall(np.zeros((5, 5, 3), np.uint8), (1, 1, 8)).max) == {None}
    middle = measure_wall(labels[..., 2:3], (1, 1, 8))
    assert [number for number in range(1, 17) if middle.mean[number - 1] is not None] == [
        *range(7, 13)
    ]
    with pytest.raises(DataError, match="one frame"):
        measure_wall(labels[..., 0], (1, 1, 8))
