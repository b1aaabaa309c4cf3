"""Features of schematic hearts, whose volumes and walls are known."""

import numpy as np
import pytest
from label_maps import SPACING, ring_heart

from acdc_seg.diagnosis.features import BODY_SIZE, FEATURES, KHENED, features
from acdc_seg.errors import DataError
from acdc_seg.labels import LV, MYO, RV

VOXEL_ML = 0.0225  # 1.5 * 1.5 * 10 / 1000
ED, ES = ring_heart(20, 6, 12), ring_heart(14, 9, 9)
CONE = ring_heart((21, 20, 19, 17, 14, 11), (6, 6, 7, 7, 8, 8))
SMALLER_CONE = ring_heart((17, 16, 14, 12, 10, 8), (9, 9, 10, 9, 9, 8))


def count(labels, label):
    return np.count_nonzero(labels == label.value)


def test_volumes_ratios_and_mass_are_counted_voxels():
    found = features(ED, ES, SPACING)
    assert found["LVEDV"] == pytest.approx(count(ED, LV) * VOXEL_ML)
    assert found["RVESV"] == pytest.approx(count(ES, RV) * VOXEL_ML)
    assert found["LVM"] == pytest.approx(1.05 * count(ED, MYO) * VOXEL_ML)
    assert found["myo_es"] == pytest.approx(count(ES, MYO) * VOXEL_ML)
    assert found["lv_rv_ed"] == pytest.approx(count(ED, LV) / count(ED, RV))
    assert found["myo_lv_es"] == pytest.approx(count(ES, MYO) / count(ES, LV))
    # disks of radius 20 and 14: 1 - (14 / 20)^2
    assert found["LVEF"] == pytest.approx(51, abs=1)
    assert found["RVEF"] == pytest.approx(100 * (1 - (9 / 12) ** 2), abs=4)


def test_an_even_wall_has_its_thickness_and_no_spread():
    found = features(ED, ES, SPACING)
    assert found["wall_max_mean_ed"] == pytest.approx(6, abs=0.3)
    assert found["wall_max_mean_es"] == pytest.approx(9, abs=0.3)
    assert found["wall_std_mean_ed"] == pytest.approx(0, abs=1e-9)
    assert found["wall_std_std_es"] == pytest.approx(0, abs=1e-9)
    assert found["wall_mean_std_ed"] < 0.4
    assert found["thickening_mean"] == pytest.approx(50, abs=6)
    assert found["thickest_ed"] == pytest.approx(6, abs=0.5)
    assert found["thinnest_es"] == pytest.approx(9, abs=0.5)


def test_a_wall_that_differs_between_slices_spreads_over_slices():
    """Three slices of 6 mm, three of 9 mm: mean 7.5, standard deviation 1.5."""
    found = features(ED, ring_heart(14, (6, 6, 6, 9, 9, 9)), SPACING)
    assert found["wall_std_mean_es"] == pytest.approx(1.5, abs=0.1)
    assert found["wall_max_mean_es"] == pytest.approx(9, abs=0.3)


def test_a_thin_part_of_the_wall_spreads_in_its_slices():
    scar = ES.copy()
    beyond = np.arange(ES.shape[1])[None, :, None] > 44  # from 18.75 mm below the center on
    scar[beyond & np.isin(ES, MYO.value)] = 0
    healthy, thinned = (features(ED, labels, SPACING) for labels in (ES, scar))
    assert thinned["wall_mean_std_es"] > healthy["wall_mean_std_es"] + 0.5
    assert thinned["thinnest_es"] < healthy["thinnest_es"] - 1.5
    assert thinned["thickening_std"] > healthy["thickening_std"] + 10


def test_double_spacing():
    once, twice = (features(ED, ES, np.multiply(SPACING, factor)) for factor in (1, 2))
    for name, (_, unit) in FEATURES.items():
        if name not in BODY_SIZE:
            factor = {"mL": 8, "g": 8, "mm": 2}.get(unit, 1)
            assert twice[name] == pytest.approx(factor * once[name], abs=1e-9), name


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrored_label_maps_have_the_same_features(axis):
    mirrored = [np.flip(labels, axis) for labels in (CONE, SMALLER_CONE)]
    assert features(*mirrored, SPACING) == pytest.approx(features(CONE, SMALLER_CONE, SPACING))


def test_body_size_is_left_out_where_it_is_unknown():
    assert tuple(features(ED, ES, SPACING, height_cm=180, weight_kg=80)) == tuple(FEATURES)
    expected = [name for name in FEATURES if name not in BODY_SIZE]
    for height, weight in ((None, 80), (180, None), (0, 80)):
        found = features(ED, ES, SPACING, height_cm=height, weight_kg=weight)
        assert list(found) == expected
        assert np.isfinite(list(found.values())).all()


def test_indexed_values_are_per_square_meter():
    found = features(ED, ES, SPACING, height_cm=180, weight_kg=80)
    assert found["BSA"] == pytest.approx(2)  # sqrt(180 * 80 / 3600)
    assert found["LVEDVi"] == pytest.approx(found["LVEDV"] / 2)


def test_khened_lists_20():
    assert len(KHENED) == 20


@pytest.mark.parametrize("label", [RV, MYO, LV])
def test_a_missing_structure_is_named_with_its_phase(label):
    without = np.where(np.isin(ES, label.value), 0, ES).astype(np.uint8)
    with pytest.raises(DataError, match=f"have no {label.name} at ES; a diagnosis needs"):
        features(ED, without, SPACING)
    with pytest.raises(DataError, match=f"have no {label.name} at ED;"):
        features(without, ES, SPACING)


def test_cavity_and_wall_that_share_no_slice_are_refused():
    apart = ES.copy()
    apart[..., :3][apart[..., :3] == MYO.value] = 0
    apart[..., 3:][apart[..., 3:] == LV.value] = 0
    with pytest.raises(DataError, match="at ES shows the wall around the cavity in no slice"):
        features(ED, apart, SPACING)
