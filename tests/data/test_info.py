import json

import nibabel as nib
import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig, PrepareConfig
from acdc_seg.data.check.run import check_data
from acdc_seg.data.info import describe
from acdc_seg.data.source import open_source

INFO = "ED: 1\nES: 5\nGroup: {group}\nHeight: 180.0\nNbFrame: 20\nWeight: 80.0\n"


def describe_folder(path, classes=None, *, on_progress=lambda *call: None, **settings):
    data = DataConfig(path=str(path), **settings)
    check = check_data(data, classes or ClassesConfig(), duplicates=False, on_progress=on_progress)
    return describe(check)


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
    lines = describe_folder(tmp_path, on_progress=lambda *call: calls.append(call))
    assert lines == [
        f"{tmp_path}: ACDC tree, 6 volumes of 3 patients",
        "train: 4 volumes of 2 patients, 4 masks",
        "test: 2 volumes of 1 patient, 0 masks",
        "patients by group: DCM 1, NOR 2",
        "size 4 x 6-8 x 8-10",
        "spacing 1.25-1.5 x 1.5 x 5-10 mm, 52 slices",
        "grey values 1 to 1, in the median volume mostly 1 to 1",
        "pixels: background 50.0%, rv 25.0%, myo 12.5%, lv 12.5%",
        "of 36 masks: background in 28, rv in 24, myo in 12, lv in 12",
    ]
    assert calls == [("volumes", done, 6) for done in range(1, 7)]


def test_patients_without_split_group_or_masks(tmp_path):
    size = {"shape": (4, 6, 8), "spacing": (1.5, 1.5, 10)}
    make_patient(tmp_path / "testing/patient101", group="", labels=False, **size)
    lines = describe_folder(tmp_path)
    assert lines[1] == "test: 2 volumes of 1 patient, 0 masks"
    assert lines[-1] == "no masks"
    assert not any("group" in line for line in lines)
    make_patient(tmp_path / "training/patient001", group="DCM", **size)
    lines = describe_folder(tmp_path)
    assert lines[3] == "patients by group: (unknown) 1, DCM 1"
    make_patient(tmp_path / "flat/patient001", group="DCM", **size)
    lines = describe_folder(tmp_path / "flat")
    assert lines[1] == "no split: 2 volumes of 1 patient, 2 masks"


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
    lines = describe_folder(tmp_path, on_progress=lambda *call: calls.append(call))
    assert lines == [
        f"{tmp_path}: paired folders, 4 images of 3 patients",
        "train: 2 images of 1 patient, 2 masks",
        "val: 1 image of 1 patient, 1 mask",
        "test: 1 image of 1 patient, 0 masks",
        "size 4-6 x 5",
        "grey values 4% to 4% of the format's range, in the median image mostly 4% to 4%",
        "pixels: background 75.0%, rv 5.0%, myo 5.0%, lv 15.0%",
        "of 3 masks: background in 3, rv in 3, myo in 3, lv in 3",
    ]
    assert calls == [("images", done, 4) for done in range(1, 5)]


def test_groups_come_from_the_table(tmp_path, write_png):
    for name in ("a", "b", "c"):
        write_png(tmp_path / "image" / f"{name}.png", np.full((4, 5), 9, np.uint8))
        write_png(tmp_path / "mask" / f"{name}_mask.png", np.zeros((4, 5), np.uint8))
    (tmp_path / "records.csv").write_text("id,patient,group\na,p1,HCM\nb,p1,HCM\nc,p2,DCM\n")
    lines = describe_folder(tmp_path)
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
    lines = describe_folder(tmp_path, classes, channels=3)
    assert lines[-3:] == [
        "pixels: background 50.0%, heart 50.0%",
        "of 1 mask: background in 1, heart in 1",
        "void: 2 pixels in 1 mask",
    ]


def test_settings_say_how_volumes_are_read(tmp_path):
    make_patient(tmp_path / "patient001", group="DCM", shape=(4, 6, 8), spacing=(1.5, 1.5, 10))
    classes = ClassesConfig(names=("background", "a", "rest"), values=(1, 0, 2), void=3)
    assert describe_folder(tmp_path, classes)[-3] == (
        "pixels: background 28.6%, a 57.1%, rest 14.3%"
    )


def test_used_range_of_12_bits_in_16(tmp_path, write_png):
    image = np.linspace(0, 4095, 20).astype(np.uint16).reshape(4, 5)
    write_png(tmp_path / "image/a.png", image)
    write_png(tmp_path / "mask/a_mask.png", np.zeros((4, 5), np.uint8))
    assert "grey values 0% to 6% of the format's range" in describe_folder(tmp_path)[3]


def test_fingerprint_is_plain_and_complete(tmp_path, write_png):
    for name, value in (("patient001_a", 10), ("patient001_b", 30), ("patient002_a", 51)):
        image = np.full((4, 5), value, np.uint8)
        image[0, 0] = 255
        write_png(tmp_path / f"train/image/{name}.png", image)
        mask = np.array([[0, 1], [0, 3]], np.uint8).repeat(2, 0)[:, [0, 0, 0, 1, 1]]
        write_png(tmp_path / f"train/mask/{name}_mask.png", mask)
    facts = check_data(DataConfig(path=str(tmp_path)), ClassesConfig()).fingerprint
    assert json.loads(json.dumps(facts)) == facts
    digest = facts.pop("sha256")
    source = open_source(DataConfig(path=str(tmp_path)), prepare_settings=PrepareConfig())
    assert digest == source.digest()
    assert facts == {
        "kind": "images",
        "num_records": 3,
        "num_images": 3,
        "num_patients": 2,
        "splits": {"train": {"records": 3, "patients": 2, "masks": 3}},
        "phases": {},
        "groups": {},
        "sizes": {"4x5": 3},
        "size_range": [[4, 4], [5, 5]],
        "spacing_range": [],
        "grey_values": {
            "low": 0.0392157,
            "p1": 0.117647,
            "median": 0.117647,
            "p99": 0.832353,
            "high": 1,
            "mean": 0.161765,
            "std": 0.192304,
        },
        "classes": {
            "background": {"value": 0, "pixels": 36, "share": 0.6, "images": 3},
            "rv": {"value": 1, "pixels": 12, "share": 0.2, "images": 3},
            "myo": {"value": 2, "pixels": 0, "share": 0, "images": 0},
            "lv": {"value": 3, "pixels": 12, "share": 0.2, "images": 3},
        },
        "void": {"pixels": 0, "images": 0},
        "num_masks": 3,
        "num_empty_masks": 0,
    }
