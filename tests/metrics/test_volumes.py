"""Slices joined to volumes, and where in the heart they are."""

from dataclasses import replace

import numpy as np
import pytest

from acdc_seg.metrics.scores import score_labels
from acdc_seg.metrics.volumes import Case, Scorer, count_slices, name_regions

CLASSES = ("background", "rv", "myo", "lv")
SPACING = (1.5, 2.0)


def heart(rv=0, lv=0):
    """A slice of 6 x 10 pixels, its first row with so many pixels of RV, its last of LV."""
    mask = np.zeros((6, 10), np.uint8)
    mask[0, :rv], mask[-1, :lv] = 1, 3
    return mask


MASKS = [heart(), heart(5, 6), heart(3, 6), heart(0, 4), heart(0, 2)]
LABELS = [heart(4, 0), heart(5, 6), heart(0, 6), heart(0, 2), heart()]


def cases_of(number, **changes):
    known = {
        "patient": "p1",
        "phase": "ED",
        "volume": "v",
        "spacing": SPACING,
        "slice_spacing": 8.0,
    }
    settings = known | changes
    return [Case(f"s{index}", slice=index, **settings) for index in range(number)]


def score(cases, order=None, labels=LABELS, masks=MASKS, **settings):
    scorer = Scorer(cases, classes=CLASSES, **settings)
    for index in order or range(len(cases)):
        scorer.add(labels[index % len(labels)], masks[index % len(masks)], cases[index])
    return scorer.result()


def test_a_volume_is_scored_by_its_summed_pixels_in_space():
    scores = score(cases_of(5))
    (volume,) = scores.volumes
    assert (volume.id, volume.patient, volume.phase) == ("v", "p1", "ED")
    assert volume.dice == pytest.approx({"rv": 2 * 5 / (8 + 9), "myo": 1, "lv": 2 * 14 / (18 + 14)})
    direct = score_labels(
        np.stack(LABELS),
        np.stack(MASKS),
        id="v",
        classes=CLASSES,
        spacing=(8.0, *SPACING),
        distances=True,
    )
    assert scores.distances_3d
    assert volume.values == {name: pytest.approx(row) for name, row in direct.values.items()}
    assert volume.values["hd"]["rv"] == 8  # from the missed third slice to the second
    assert volume.units.size == "mL"
    assert volume.num_missed == {"rv": 0, "myo": 0, "lv": 0}
    assert [image.num_missed["rv"] for image in scores.images] == [0, 0, 1, 0, 0]
    assert [image.num_false["rv"] for image in scores.images] == [1, 0, 0, 0, 0]


def test_slices_may_come_in_any_order_and_volumes_between_each_other():
    cases = [*cases_of(5), *cases_of(5, volume="w", phase="ES")]
    expected = score(cases)
    assert [volume.id for volume in expected.volumes] == ["v", "w"]
    shuffled = score(cases, order=[9, 3, 5, 0, 8, 1, 2, 7, 4, 6])
    by_id = {volume.id: volume for volume in shuffled.volumes}
    assert by_id == {volume.id: volume for volume in expected.volumes}


@pytest.mark.parametrize(
    "change",
    [
        lambda case: replace(case, slice_spacing=None),
        lambda case: replace(case, slice=case.slice * 2),
        lambda case: replace(case, slice_spacing=8.0 + case.slice),
        lambda case: replace(case, spacing=(1.5, 2.0 + case.slice)),
    ],
    ids=["distance unknown", "slices missing", "distances differ", "pixels differ"],
)
def test_distances_are_those_of_slices_where_their_place_is_unknown(change):
    scores = score([change(case) for case in cases_of(5)])
    (volume,) = scores.volumes
    assert not scores.distances_3d
    assert volume.dice["rv"] == 2 * 5 / (8 + 9)
    with_rv = [scores.images[index].values["hd"]["rv"] for index in (0, 1, 2)]
    assert volume.values["hd"] == pytest.approx(
        {
            "rv": np.mean(with_rv),
            "myo": 0,
            "lv": np.mean([image.values["hd"]["lv"] for image in scores.images[1:]]),
        }
    )
    assert volume.values["nsd"]["myo"] == 1
    assert (volume.units.length, volume.units.size) == ("mm", "voxels")


def test_one_volume_without_a_grid_puts_all_in_the_plane():
    cases = [*cases_of(5), *cases_of(5, volume="w", slice_spacing=None)]
    scores = score(cases)
    assert not scores.distances_3d
    assert {volume.units.size for volume in scores.volumes} == {"voxels"}


def test_slices_of_different_sizes_are_summed():
    masks = [heart(5, 6), np.zeros((3, 3), np.uint8)]
    scores = score(cases_of(2), labels=masks, masks=masks)
    assert scores.volumes[0].dice["rv"] == 1
    assert not scores.distances_3d


def test_pixels_are_the_unit_of_all_where_one_spacing_is_missing():
    cases = cases_of(5)
    scores = score([replace(cases[0], spacing=None), *cases[1:]])
    assert {image.units.length for image in scores.images} == {"pixels"}
    assert {image.units.size for image in scores.images} == {"pixels"}
    assert scores.volumes[0].units.length == "pixels"


def test_images_that_are_no_slices_have_no_volumes():
    plain = [Case(f"s{index}", patient="p") for index in range(5)]
    assert score(plain).volumes == []
    assert count_slices([*cases_of(2), Case("a")]) == {}
    middle = [Case("a", volume="v", slice=4), Case("b", volume="w", slice=5)]
    assert count_slices(middle) == {}
    assert count_slices(cases_of(3)) == {"v": 3}


def test_labels_of_a_volume_are_let_go_when_it_is_complete():
    cases = cases_of(5)
    scorer = Scorer(cases, classes=CLASSES)
    for case, labels, mask in zip(cases, LABELS, MASKS, strict=True):
        scorer.add(labels, mask, case)
    assert not scorer._open


def test_regions_are_summed_by_volume():
    scores = score(cases_of(5))
    assert [image.region for image in scores.images] == [
        *("beyond base", "base", "mid", "mid", "apex"),
    ]
    assert {name: [part.id for part in row] for name, row in scores.regions.items()} == {
        "base": ["v base"],
        "mid": ["v mid"],
        "apex": ["v apex"],
    }
    (mid,) = scores.regions["mid"]
    assert mid.dice == pytest.approx({"rv": 0, "myo": 1, "lv": 2 * 8 / (10 + 8)})
    assert mid.num_missed["rv"] == 1


def test_other_classes_have_no_base_and_apex():
    scorer = Scorer(cases_of(5), classes=("background", "a", "b", "c"))
    for case, labels, mask in zip(cases_of(5), LABELS, MASKS, strict=True):
        scorer.add(labels, mask, case)
    scores = scorer.result()
    assert (scores.regions, scores.is_heart) == ({}, False)
    assert {image.region for image in scores.images} == {""}


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ([9], "m"),
        ([9, 5], "ba"),
        ([5, 9], "ab"),
        ([9, 8, 7], "bma"),
        ([9, 8, 7, 6], "bmma"),
        ([9, 8, 7, 6, 5], "bbmaa"),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 1], "bbbmmmmaaa"),
        ([0, 0, 3, 8, 9, 0], "AAambB"),
        ([0, 9, 0, 4, 0], "BbmaA"),
        ([0, 0], ""),
    ],
)
def test_thirds_from_the_end_with_more_heart(sizes, names):
    words = {"b": "base", "m": "mid", "a": "apex", "B": "beyond base", "A": "beyond apex"}
    assert name_regions(sizes) == ([words[name] for name in names] or [""] * len(sizes))


def test_classes_without_background_are_all_measured():
    cases = cases_of(5)
    scorer = Scorer(cases, classes=CLASSES, has_background=False)
    for case, labels, mask in zip(cases, LABELS, MASKS, strict=True):
        scorer.add(labels, mask, case)
    (volume,) = scorer.result().volumes
    assert volume.values["hd"].keys() == set(CLASSES)
    assert (
        volume.values["hd"]["background"]
        == score_labels(
            np.stack(LABELS),
            np.stack(MASKS),
            id="v",
            classes=CLASSES,
            has_background=False,
            spacing=(8.0, *SPACING),
            distances=True,
        ).values["hd"]["background"]
        > 0
    )
