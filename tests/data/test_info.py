import nibabel as nib
import numpy as np
import pytest

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.info import describe
from acdc_seg.errors import DataError

INFO = "ED: 1\nES: 5\nGroup: {group}\nHeight: 180.0\nNbFrame: 20\nWeight: 80.0\n"


def make_patient(folder, *, group, shape, spacing, labels=True):
    """ED and ES of one size; a half of the voxels is background, a quarter RV, an eighth
    myocardium, an eighth LV.
    """
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(INFO.format(group=group))
    affine = np.diag([*spacing, 1.0])
    label = np.resize(np.array([0, 0, 0, 0, 1, 1, 2, 3], np.uint8), shape)
    for frame in ("01", "05"):
        nib.save(
            nib.Nifti1Image(np.ones(shape, np.int16), affine),
            folder / f"{folder.name}_frame{frame}.nii.gz",
        )
        if labels:
            nib.save(
                nib.Nifti1Image(label, affine), folder / f"{folder.name}_frame{frame}_gt.nii.gz"
            )


def test_tree(tmp_path):
    make_patient(
        tmp_path / "training/patient001", group="DCM", shape=(4, 6, 8), spacing=(1.5, 1.5, 10)
    )
    make_patient(
        tmp_path / "training/patient002", group="NOR", shape=(4, 8, 10), spacing=(1.25, 1.5, 5)
    )
    make_patient(
        tmp_path / "testing/patient101",
        group="NOR",
        shape=(4, 6, 8),
        spacing=(1.5, 1.5, 10),
        labels=False,
    )
    calls = []
    lines = describe(
        DataConfig(path=str(tmp_path)),
        ClassesConfig(),
        on_progress=lambda *call: calls.append(call),
    )
    assert lines == [
        f"{tmp_path}: ACDC tree, 6 volumes of 3 patients",
        "train: 4 volumes of 2 patients, 4 masks",
        "test: 2 volumes of 1 patients, 0 masks",
        "patients by group: DCM 1, NOR 2",
        "size 4 x 6-8 x 8-10",
        "spacing 1.25-1.5 x 1.5 x 5-10 mm, 52 slices",
        "pixels: background 50.0%, rv 25.0%, myo 12.5%, lv 12.5%",
    ]
    assert calls == [("volumes", done, 6) for done in range(1, 7)]


def test_patients_without_split_group_or_masks(tmp_path):
    size = {"shape": (4, 6, 8), "spacing": (1.5, 1.5, 10)}
    make_patient(tmp_path / "testing/patient101", group="", labels=False, **size)
    lines = describe(DataConfig(path=str(tmp_path)), ClassesConfig())
    assert lines[1] == "test: 2 volumes of 1 patients, 0 masks"
    assert lines[-1] == "no masks"
    assert not any("group" in line for line in lines)
    make_patient(tmp_path / "training/patient001", group="DCM", **size)
    lines = describe(DataConfig(path=str(tmp_path)), ClassesConfig())
    assert lines[3] == "patients by group: (unknown) 1, DCM 1"
    make_patient(tmp_path / "flat/patient001", group="DCM", **size)
    lines = describe(DataConfig(path=str(tmp_path / "flat")), ClassesConfig())
    assert lines[1] == "no split: 2 volumes of 1 patients, 2 masks"


def test_paired_folders(tmp_path, write_png):
    mask = np.zeros((4, 5), np.uint8)
    mask[0] = [1, 2, 3, 3, 3]  # 15 of 20 pixels background
    for split, name in (
        ("train", "patient001_a"),
        ("train", "patient001_b"),
        ("val", "patient002_a"),
    ):
        write_png(tmp_path / split / "image" / f"{name}.png", np.full((4, 5), 9, np.uint8))
        write_png(tmp_path / split / "mask" / f"{name}_mask.png", mask)
    write_png(tmp_path / "test/image/patient003_a.png", np.full((6, 5), 9, np.uint8))
    calls = []
    lines = describe(
        DataConfig(path=str(tmp_path)),
        ClassesConfig(),
        on_progress=lambda *call: calls.append(call),
    )
    assert lines == [
        f"{tmp_path}: paired folders, 4 images of 3 patients",
        "train: 2 images of 1 patients, 2 masks",
        "val: 1 images of 1 patients, 1 masks",
        "test: 1 images of 1 patients, 0 masks",
        "size 4-6 x 5",
        "pixels: background 75.0%, rv 5.0%, myo 5.0%, lv 15.0%",
    ]
    assert calls == [("images", done, 4) for done in range(1, 5)]


def test_groups_come_from_the_table(tmp_path, write_png):
    for name in ("a", "b", "c"):
        write_png(tmp_path / "image" / f"{name}.png", np.full((4, 5), 9, np.uint8))
        write_png(tmp_path / "mask" / f"{name}_mask.png", np.zeros((4, 5), np.uint8))
    (tmp_path / "records.csv").write_text("id,patient,group\na,p1,HCM\nb,p1,HCM\nc,p2,DCM\n")
    lines = describe(DataConfig(path=str(tmp_path)), ClassesConfig())
    assert lines[0].endswith("3 images of 2 patients")
    assert "patients by group: DCM 1, HCM 1" in lines


def test_settings_say_how_files_are_read(tmp_path, write_png):
    mask = np.array([[0, 0, 255, 255], [0, 255, 7, 7]], np.uint8)  # 7 is void
    write_png(tmp_path / "image/a.png", np.full((2, 4, 3), (90, 0, 0), np.uint8))
    write_png(tmp_path / "mask/a_mask.png", mask)
    classes = ClassesConfig(
        names=("background", "heart"),
        values=(0, 255),
        colors=((0, 0, 0), (255, 0, 0)),
        void=7,
    )
    assert (
        describe(DataConfig(path=str(tmp_path), channels=3), classes)[-1]
        == "pixels: background 50.0%, heart 50.0%"
    )
    with pytest.raises(DataError, match="the image has 3 channels where 1 are configured"):
        describe(DataConfig(path=str(tmp_path)), classes)


def test_mask_of_another_size_is_found(tmp_path, write_png):
    write_png(tmp_path / "image/a.png", np.zeros((2, 4), np.uint8))
    write_png(tmp_path / "mask/a_mask.png", np.zeros((4, 2), np.uint8))
    with pytest.raises(
        DataError, match=r"a_mask.png: the mask is 4x2, its image a.png is 2x4 pixels"
    ):
        describe(DataConfig(path=str(tmp_path)), ClassesConfig())


def test_damaged_volume_is_found(tmp_path):
    make_patient(tmp_path / "patient001", group="DCM", shape=(4, 6, 8), spacing=(1.5, 1.5, 10))
    file = tmp_path / "patient001/patient001_frame05.nii.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"patient001_frame05.nii.gz: not a readable NIfTI file"):
        describe(DataConfig(path=str(tmp_path)), ClassesConfig())
