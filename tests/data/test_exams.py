import pickle

import nibabel as nib
import numpy as np
import pytest
from dicom import write_series
from volumes import AFFINE, GREY, make_cine, make_labels, save

from acdc_seg.data.exams import find_exams
from acdc_seg.data.nifti import open_nifti, write_labels
from acdc_seg.errors import DataError

INFO = "ED: 1\nES: 4\nGroup: DCM\nHeight: 170\nNbFrame: 6\nWeight: 80.5\n"


def ids(*paths):
    return [exam.id for exam in find_exams(list(paths))]


def test_files_and_folders_of_volumes_without_masks(tmp_path):
    for name in ("b/sa", "a10_0000", "a10_0001", "a2", "a2_gt", "a2_seg", "case-label", "c_mask"):
        save(tmp_path / f"{name}.nii.gz", make_labels(5))
    assert ids(tmp_path) == ["a2", "a10", "b_sa"]
    assert ids(tmp_path / "a2.nii.gz") == ["a2"]


def test_ids_are_unique(tmp_path):
    for folder in ("x", "y"):
        save(tmp_path / folder / "sa.nii", make_labels(5))
    assert ids(tmp_path / "x" / "sa.nii", tmp_path / "y" / "sa.nii") == ["x_sa", "y_sa"]
    assert ids(tmp_path / "x", tmp_path / "x") == ["x_sa", "x_sa-2"]


def test_volumes_of_two_phases_are_one_exam(tmp_path):
    save(tmp_path / "case_ES.nii.gz", make_labels(4))
    save(tmp_path / "case_ED.nii.gz", make_labels(6))
    (exam,) = find_exams([tmp_path])
    images = exam.read()
    assert (exam.id, images.names, images.phases) == (
        "case",
        ("case_ED", "case_ES"),
        {"ED": 0, "ES": 1},
    )
    assert images.num_frames == 2
    assert (images.frame(0) == 240).sum() > (images.frame(1) == 240).sum()


def test_a_cine_tells_its_frames_and_times(tmp_path):
    path = save(tmp_path / "cine.nii.gz", make_cine())
    images = find_exams([path])[0].read()
    assert (images.num_frames, images.spacing) == (6, (1.5, 1.5, 8.0))
    assert images.files[0].frame_seconds == pytest.approx(0.04)
    np.testing.assert_array_equal(images.frame(3), nib.load(path).get_fdata()[..., 3])


def write_patient(folder, *, cine):
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(INFO)
    frames = make_cine()
    if cine:
        save(folder / f"{folder.name}_4d.nii.gz", frames)
    for number in (1, 4):
        for ending in ("", "_gt"):
            path = folder / f"{folder.name}_frame{number:02d}{ending}.nii.gz"
            save(path, frames[..., number - 1])


@pytest.mark.parametrize("cine", [False, True])
def test_a_patient_of_an_acdc_tree(tmp_path, cine):
    write_patient(tmp_path / "training" / "patient007", cine=cine)
    (exam,) = find_exams([tmp_path])
    images = exam.read()
    assert exam.id == "patient007"
    assert (images.group, images.height_cm, images.weight_kg) == ("DCM", 170, 80.5)
    assert images.num_frames == (6 if cine else 2)
    assert images.phases == ({"ED": 0, "ES": 3} if cine else {"ED": 0, "ES": 1})
    names = ("patient007",) if cine else ("patient007_frame01", "patient007_frame04")
    assert images.names == names


def test_a_dicom_series(tmp_path):
    cine = make_cine(4).astype(np.int16) * 80
    write_series(tmp_path / "series", cine, AFFINE @ np.diag([1, 1, 1, 1]), PatientWeight=70)
    (exam,) = find_exams([tmp_path / "series"])
    images = exam.read()
    assert (images.num_frames, images.weight_kg) == (4, 70)
    assert images.spacing == pytest.approx((1.5, 1.5, 8.0))
    np.testing.assert_array_equal(images.frame(2), cine[..., 2])
    assert images.dicom is not None


def test_nothing_to_segment(tmp_path):
    with pytest.raises(DataError, match=r"nothing: no such file or folder"):
        find_exams([tmp_path / "nothing"])
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"nothing to segment here; expected a NIfTI file"):
        find_exams([tmp_path])


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_label_maps_have_the_grid_of_the_image(tmp_path, kind, ending):
    affine = nib.affines.from_matvec(np.diag([1.5, 8, 1.25])[:, [2, 0, 1]], [5, 6, 7])
    image = kind(np.zeros((7, 6, 5), np.int16), affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(2, 0)
    image.header["descrip"] = b"scanner"
    nib.save(image, tmp_path / "image.nii.gz")
    file = open_nifti(tmp_path / "image.nii.gz")
    labels = np.arange(7 * 6 * 5, dtype=np.uint8).reshape(7, 6, 5) % 4
    write_labels(tmp_path / f"seg{ending}", file.orientation.apply(labels), file)
    back = nib.load(tmp_path / f"seg{ending}")
    np.testing.assert_array_equal(np.asarray(back.dataobj), labels)
    np.testing.assert_array_equal(back.affine, file.image.affine)
    assert (back.get_data_dtype(), back.header["descrip"].item()) == (np.uint8, b"scanner")
    assert back.header.get_xyzt_units()[0] == "mm"


def test_exams_of_every_kind_can_be_sent_to_another_process(tmp_path):
    save(tmp_path / "nifti" / "case.nii.gz", make_cine(4))
    for phase in ("ED", "ES"):
        save(tmp_path / "pair" / f"case_{phase}.nii.gz", make_labels(5))
    write_patient(tmp_path / "acdc" / "patient001", cine=True)
    write_patient(tmp_path / "frames" / "patient001", cine=False)
    write_series(tmp_path / "dicom", GREY[make_cine(4)], AFFINE)
    for kind in ("nifti", "pair", "acdc", "frames", "dicom"):
        (exam,) = find_exams([tmp_path / kind])
        sent = pickle.loads(pickle.dumps(exam))
        assert (sent.id, sent.paths) == (exam.id, exam.paths)
        ours, theirs = exam.read(), sent.read()
        assert (ours.names, ours.phases, ours.group) == (theirs.names, theirs.phases, theirs.group)
        last = ours.num_frames - 1
        np.testing.assert_array_equal(ours.frame(last), theirs.frame(last))
