import nibabel as nib
import numpy as np
import pytest

from acdc_seg.config import ClassesConfig, DataConfig, PrepareConfig
from acdc_seg.data.check.run import check_data
from acdc_seg.data.examples import read_example
from acdc_seg.data.info import describe
from acdc_seg.data.readers import scan_records
from acdc_seg.data.source import detect_format, open_source
from acdc_seg.errors import DataError

DATA = DataConfig()
EMIDEC = ClassesConfig.model_validate(["background", "lv", "myo", "infarct", "no_reflow"])


def save(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.5, 1.5, 8.0, 1.0])
    nib.save(nib.Nifti1Image(voxels, affine), path)


def write_pairs(root, names, *, shape=(12, 10, 3), values=5):
    """Images and masks of these files, "image mask" each."""
    for name in names:
        image, *mask = name.split()
        save(root / image, np.arange(np.prod(shape), dtype=np.int16).reshape(shape))
        for file in mask:
            save(root / file, np.resize(np.arange(values, dtype=np.uint8), shape))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            [
                "imagesTr/a_0000.nii.gz labelsTr/a.nii.gz",
                "imagesTr/b_0000.nii.gz labelsTr/b.nii.gz",
                "imagesTs/c_0000.nii.gz",
            ],
            "a:train b:train c:test",
        ),
        (["imagesTr/a.nii labelsTr/a.nii.gz"], "a:train"),
        (
            ["case1_img.nii.gz case1_lab.nii.gz", "case2_img.nii.gz case2_lab.nii.gz"],
            "case1: case2:",
        ),
        (["x/images/A.nii.gz x/labels/A_gt.nii.gz"], None),
        (["train/Images/A.nii.gz train/Labels/A_gt.nii.gz"], "A:train"),
        (["p1_ED.nii.gz p1_ED_gt.nii.gz", "p1_ES.nii.gz p1_ES_gt.nii.gz"], "p1_ED: p1_ES:"),
    ],
)
def test_volumes_and_their_masks_are_found(tmp_path, names, expected):
    write_pairs(tmp_path, names)
    if expected is None:
        with pytest.raises(DataError, match=r"holds 2 \.nii\.gz files in x/images/, x/labels/"):
            detect_format(DataConfig(path=str(tmp_path)))
        return
    assert detect_format(DataConfig(path=str(tmp_path))) == "nifti"
    records, problems, _ = scan_records("nifti", tmp_path, DATA)
    assert [problem for problem in problems if problem.code != "patient_rule"] == []
    assert [f"{record.id}:{record.split}" for record in records] == expected.split()
    assert [record.mask is not None for record in records] == [
        record.split != "test" for record in records
    ]


def test_phases_of_one_patient_are_asked_about(tmp_path):
    write_pairs(
        tmp_path,
        [f"p{n}x_{phase}.nii.gz p{n}x_{phase}_gt.nii.gz" for n in "ab" for phase in ("ED", "ES")],
    )
    records, problems, _ = scan_records("nifti", tmp_path, DATA)
    assert [record.phase for record in records] == ["ED", "ES", "ED", "ES"]
    assert [problem.code for problem in problems] == ["patient_rule"]
    rule = problems[0].settings[0].removeprefix("data.patient_rule=")
    records, problems, _ = scan_records("nifti", tmp_path, DataConfig(patient_rule=rule))
    assert problems == []
    assert [record.patient for record in records] == ["pax", "pax", "pbx", "pbx"]


def test_further_channels_are_told_and_not_read(tmp_path):
    write_pairs(tmp_path, ["imagesTr/a_0000.nii.gz labelsTr/a.nii.gz", "imagesTr/a_0001.nii.gz"])
    records, (problem,), _ = scan_records("nifti", tmp_path, DATA)
    assert [record.image.name for record in records] == ["a_0000.nii.gz"]
    assert (problem.path.name, problem.severity) == ("a_0001.nii.gz", "warning")


@pytest.mark.parametrize("shape", [(12, 10, 3), (12, 10)])
def test_volumes_of_other_classes_are_cut_and_read(tmp_path, shape):
    names = [f"imagesTr/{name}.nii.gz labelsTr/{name}.nii.gz" for name in "abcde"]
    write_pairs(tmp_path / "emidec", names, shape=shape)
    data = DataConfig(path=str(tmp_path / "emidec"))
    settings = PrepareConfig(spacing=None, size=(12, 10))
    with pytest.raises(DataError, match=r"value 4 .*expected one of \[0, 1, 2, 3\]"):
        open_source(
            data, prepare_settings=settings, classes=ClassesConfig(), work_dir=tmp_path / "work"
        )
    source = open_source(
        data, prepare_settings=settings, classes=EMIDEC, work_dir=tmp_path / "work"
    )
    assert (source.kind, source.is_sliced) == ("nifti", True)
    assert len(source.records) == 5 * (3 if len(shape) == 3 else 1)
    assert source.notes[0] == (
        "Images in imagesTr/, masks in labelsTr/ of the same names, splits train"
    )
    _, image, mask = read_example(source.records[0], data=data, classes=EMIDEC)
    assert image.shape[1:] == mask.shape == (12, 10)
    assert set(np.unique(mask)) == {0, 1, 2, 3, 4}
    assert "infarct 20.0%" in "\n".join(describe(check_data(data, EMIDEC, duplicates=False)))


def test_several_channels_in_one_file_are_refused(tmp_path):
    write_pairs(tmp_path, ["imagesTr/a.nii.gz"], shape=(4, 4, 2, 3))
    write_pairs(tmp_path, ["labelsTr/a.nii.gz"], shape=(4, 4, 2))
    data = DataConfig(path=str(tmp_path), validation=False)
    with pytest.raises(DataError, match="save the channel or frame to use as a file of its own"):
        open_source(data, prepare_settings=PrepareConfig(), work_dir=tmp_path / "work")
