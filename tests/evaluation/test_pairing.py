import nibabel
import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.evaluation.pairing import find_label_maps, pair_folders

INFO = "ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


@pytest.fixture
def tree(tmp_path):
    """A patient of ACDC, images included."""
    folder = tmp_path / "acdc" / "training" / "patient001"
    names = [
        f"patient001_{part}.nii.gz"
        for part in ("4d", "frame01", "frame01_gt", "frame12", "frame12_gt")
    ]
    touch(folder, *names)
    (folder / "Info.cfg").write_text(INFO)
    return tmp_path / "acdc"


def write_frames(path, num_frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, num_frames), np.uint8), np.eye(4)), path)


@pytest.mark.parametrize(
    "names",
    [
        ("patient001_frame01.nii.gz", "patient001_frame12.nii.gz"),
        ("patient001_frame01_seg.nii.gz", "patient001_frame12_seg.nii.gz"),
        ("patient001_frame01_pred.nii", "deep/er/patient001_frame12_pred.nii"),
        ("patient001_ED_seg.nii.gz", "patient001_ES_seg.nii.gz", "patient001_ED.nii.gz"),
    ],
)
def test_predictions_of_all_names_find_the_truth_of_an_acdc_tree(tmp_path, tree, names):
    folder = touch(tmp_path / "predictions", *names)
    pairing = pair_folders(folder, tree)
    assert [str(pair.prediction.relative_to(folder)) for pair in pairing.pairs] == [*names[:2]]
    assert [pair.case.path.name for pair in pairing.pairs] == [
        "patient001_frame01_gt.nii.gz",
        "patient001_frame12_gt.nii.gz",
    ]
    facts = [(pair.case.patient, pair.case.phase, pair.case.group) for pair in pairing.pairs]
    assert facts == [("patient001", "ED", "DCM"), ("patient001", "ES", "DCM")]
    assert (pairing.missing, pairing.extra) == ([], [])


@pytest.mark.parametrize(
    ("name", "num_frames", "expected"),
    [
        ("patient001_seg", 30, [0, 11]),
        ("patient001_4d_seg", 30, [0, 11]),
        ("patient001", 2, [0, 1]),
    ],
)
def test_frames_of_a_cine_are_those_of_the_truth(tmp_path, tree, name, num_frames, expected):
    path = tmp_path / "predictions" / f"{name}.nii.gz"
    write_frames(path, num_frames)
    pairing = pair_folders(path.parent, tree)
    assert [(pair.prediction, pair.frame) for pair in pairing.pairs] == [
        (path, frame) for frame in expected
    ]


def test_a_cine_too_short_for_the_truth_is_an_error(tmp_path, tree):
    write_frames(tmp_path / "predictions" / "patient001_seg.nii", 11)
    with pytest.raises(DataError, match=r"patient001_seg\.nii: has 11 frames.*frame12_gt"):
        pair_folders(tmp_path / "predictions", tree)


def test_files_without_a_partner_are_named_and_patients_sorted_by_number(tmp_path):
    truth = touch(tmp_path / "t", *(f"case{n}_{p}.nii.gz" for n in (2, 10) for p in ("ED", "ES")))
    folder = touch(
        tmp_path / "p", "case10_ED.nii.gz", "case2_ES.nii.gz", "case3_ES.nii.gz", "plans.json"
    )
    pairing = pair_folders(folder, truth)
    assert [pair.case.name for pair in pairing.pairs] == ["case2_ES", "case10_ED"]
    assert [(pair.case.patient, pair.case.phase) for pair in pairing.pairs] == [
        ("case2", "ES"),
        ("case10", "ED"),
    ]
    assert [path.name for path in pairing.missing] == ["case2_ED.nii.gz", "case10_ES.nii.gz"]
    assert [path.name for path in pairing.extra] == ["case3_ES.nii.gz"]


def test_patients_by_a_rule(tmp_path):
    folder = touch(tmp_path / "p", "A7x1.nii", "A7x2.nii", "B3x1.nii")
    pairs = pair_folders(folder, folder, patient_rule=r"([A-Z]\d+)x").pairs
    assert [pair.case.patient for pair in pairs] == ["A7", "A7", "B3"]
    pairs = pair_folders(folder, folder).pairs
    assert [pair.case.patient for pair in pairs] == ["A7x1", "A7x2", "B3x1"]


def test_no_pair_equal_names_and_folders_without_label_maps_are_errors(tmp_path, tree):
    other = touch(tmp_path / "other", "heart1.nii.gz")
    with pytest.raises(DataError, match=r"heart1\.nii\.gz and patient001_frame01_gt"):
        pair_folders(other, tree)
    twice = touch(tmp_path / "twice", "a/x_seg.nii.gz", "b/x_pred.nii.gz")
    with pytest.raises(DataError, match=r"x_pred\.nii\.gz: is named as .*x_seg\.nii\.gz"):
        find_label_maps(twice)
    with pytest.raises(DataError, match="holds no label map"):
        find_label_maps(touch(tmp_path / "none", "x.png"))
    with pytest.raises(DataError, match=r"othr: is not a folder.*did you mean .*other"):
        find_label_maps(tmp_path / "othr")


@pytest.mark.parametrize(
    "ending", ["seg", "gt", "pred", "prediction", "mask", "label", "labels", "labelmap", "GT"]
)
def test_endings_mark_label_maps_among_other_files(tmp_path, ending):
    folder = touch(tmp_path, f"case1_{ending}.nii.gz", "case1.nii.gz", "case1_probabilities.nii.gz")
    assert find_label_maps(folder) == {"case1": folder / f"case1_{ending}.nii.gz"}


def test_links_are_followed_once_and_hidden_files_left_out(tmp_path, tree):
    (tree / "training" / "again").symlink_to(tree, target_is_directory=True)
    touch(tree, ".trash/patient009_frame01_gt.nii.gz", "training/._patient001_frame01_gt.nii.gz")
    assert list(find_label_maps(tree)) == ["patient001_frame01", "patient001_frame12"]
    link = tmp_path / "link"
    link.symlink_to(tree / "training", target_is_directory=True)
    assert list(find_label_maps(link)) == ["patient001_frame01", "patient001_frame12"]
