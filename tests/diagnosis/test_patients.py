"""Features of a tree's patients, from masks and from predicted label maps."""

import nibabel as nib
import numpy as np
import pytest
from label_maps import SPACING, ring_heart

from acdc_seg.data.readers.acdc import body_size, read_info
from acdc_seg.diagnosis.features import features
from acdc_seg.diagnosis.patients import read_patients
from acdc_seg.errors import DataError
from acdc_seg.labels import RV

HEARTS = {
    "patient001": ("DCM", ring_heart(22, 6), ring_heart(20, 6, 10)),
    "patient002": ("NOR", ring_heart(18, 6), ring_heart(12, 9, 9)),
}


def save(path, voxels):
    """Writes a file as ACDC's are: the spacing is in the header and not in the affine."""
    image = nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1]))
    image.header.set_zooms(SPACING)
    nib.save(image, path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("acdc")
    for name, (group, *label_maps) in HEARTS.items():
        folder = root / "training" / name
        folder.mkdir(parents=True)
        info = f"ED: 1\nES: 12\nGroup: {group}\nHeight: 180.0\nNbFrame: 30\nWeight: 80.0\n"
        (folder / "Info.cfg").write_text(info)
        for frame, labels in zip((1, 12), label_maps, strict=True):
            stem = f"{name}_frame{frame:02d}"
            save(folder / f"{stem}.nii.gz", (20 * labels).astype(np.int16))
            save(folder / f"{stem}_gt.nii.gz", labels)
    return root


def write_prediction(folder, name, ed, es):
    for frame, labels in ((1, ed), (12, es)):
        image = nib.Nifti1Image(labels, np.diag([-1.0, -1, 1, 1]))
        nib.save(image, folder / f"{name}_frame{frame:02d}_seg.nii.gz")


def test_masks_become_rows_with_the_spacing_of_the_header(tree):
    found = read_patients(tree)
    assert (found.refused, found.absent) == ({}, [])
    assert {name: group for name, (group, _) in found.rows.items()} == {
        "patient001": "DCM",
        "patient002": "NOR",
    }
    _, ed, es = HEARTS["patient002"]
    expected = features(ed, es, SPACING, height_cm=180, weight_kg=80)
    assert found.rows["patient002"][1] == pytest.approx(expected, rel=1e-4)


def test_predictions_take_the_place_of_masks_with_the_spacing_of_the_tree(tree, tmp_path):
    ed, es = ring_heart(20, 7), ring_heart(15, 9, 10)
    write_prediction(tmp_path, "patient002", ed, es)
    found = read_patients(tree, tmp_path)
    assert found.absent == ["patient001"]
    expected = features(ed, es, SPACING, height_cm=180, weight_kg=80)
    assert found.rows.keys() == {"patient002"}
    assert found.rows["patient002"][1] == pytest.approx(expected, rel=1e-4)


def test_a_prediction_without_rv_is_told_and_one_of_another_grid_is_an_error(tree, tmp_path):
    _, ed, es = HEARTS["patient001"]
    write_prediction(tmp_path, "patient001", ed, np.where(es == RV.value, 0, es).astype(np.uint8))
    found = read_patients(tree, tmp_path)
    assert found.rows == {}
    assert "no rv at ES" in found.refused["patient001"]
    write_prediction(tmp_path, "patient001", ed, es[..., 1:])
    with pytest.raises(DataError, match="give label maps on the grid of the images"):
        read_patients(tree, tmp_path)


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(DataError, match="no patient with a group"):
        read_patients(tmp_path)


def test_body_size_is_none_where_the_file_does_not_tell(tmp_path):
    path = tmp_path / "Info.cfg"
    path.write_text("ED: 1\nGroup: DCM\nHeight: 171.5\nWeight: unknown\n")
    assert body_size(read_info(path)[0]) == (171.5, None)
