"""One patient in every kind of file: the package's model gives the same labels."""

import shutil

import nibabel as nib
import numpy as np
import pytest
from dicom import write_series

from acdc_seg.data.exams import find_exams
from acdc_seg.data.nifti import open_nifti
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.shipped import find_model
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.prediction.case import Outputs
from acdc_seg.prediction.run import predict_exams

SLICES = slice(3, 6)
"""Of the volume, to be quick."""


@pytest.fixture(scope="module")
def predictor():
    return VolumePredictor(load_predictor(find_model(), device="cpu", precision="fp32"))


def predict(path, predictor, out):
    (case,) = predict_exams(find_exams([path]), predictor, out, outputs=Outputs())
    assert case["status"] == "done", case
    return nib.load(out / case["files"][0])


def boundary(labels):
    """Voxels with another class beside them in the plane."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in (1, -1):
            edge |= np.roll(labels, step, axis) != labels
    return edge


def test_equal_labels_for_every_kind_of_file(real_data, predictor, tmp_path):
    folder = real_data / "acdc" / "training" / "patient011"
    source = next(iter(sorted(folder.glob("*frame01.nii.gz"))))
    file = open_nifti(source)
    voxels = np.ascontiguousarray(file.frame(0)[:, :, SLICES]).round().astype(np.int16)
    affine = np.diag([-file.spacing[0], -file.spacing[1], file.spacing[2], 1.0])
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm", "sec")

    plain = tmp_path / "plain" / "case1.nii.gz"
    plain.parent.mkdir()
    nib.save(image, plain)
    expected = np.asarray(predict(plain, predictor, tmp_path / "a").dataobj)
    assert set(np.unique(expected)) == {0, 1, 2, 3}

    turned = image.as_reoriented(np.array([[1, -1], [2, 1], [0, 1]]))
    path = tmp_path / "turned" / "case1.nii.gz"
    path.parent.mkdir()
    nib.save(turned, path)
    labels = predict(path, predictor, tmp_path / "b")
    np.testing.assert_allclose(labels.affine, turned.affine)
    back = labels.as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(labels.affine), nib.io_orientation(affine)
        )
    )
    np.testing.assert_array_equal(np.asarray(back.dataobj), expected)

    write_series(tmp_path / "series", voxels, affine)
    labels = np.asarray(predict(tmp_path / "series", predictor, tmp_path / "c").dataobj)
    assert not ((labels.reshape(expected.shape) != expected) & ~boundary(expected)).any()

    patient = tmp_path / "tree" / "patient011"
    patient.mkdir(parents=True)
    shutil.copy(folder / "Info.cfg", patient)
    for path in folder.glob("*_frame??.nii.gz"):
        nib.save(image, patient / path.name)
    labels = np.asarray(predict(tmp_path / "tree", predictor, tmp_path / "d").dataobj)
    np.testing.assert_array_equal(labels, expected)
