from pathlib import Path

import pytest

from acdc_seg.data.readers.acdc import is_acdc_tree, read_tree
from acdc_seg.errors import DataError

INFO = {"ED": "1", "ES": "9", "Group": "DCM", "Height": "184.0", "NbFrame": "30", "Weight": "95.0"}


def write_info(folder: Path, **changes: str | None) -> None:
    info = {key: value for key, value in {**INFO, **changes}.items() if value is not None}
    (folder / "Info.cfg").write_text(
        "".join(f"{key}: {value}\n" for key, value in info.items()), encoding="utf-8"
    )


def make_patient(
    folder: Path, *, suffix: str = ".nii.gz", labels: bool = True, **changes: str | None
) -> Path:
    """A patient folder whose frame files are empty: reading the tree does not open them."""
    folder.mkdir(parents=True)
    write_info(folder, **changes)
    for frame in ("01", "09"):
        (folder / f"{folder.name}_frame{frame}{suffix}").touch()
        if labels:
            (folder / f"{folder.name}_frame{frame}_gt{suffix}").touch()
    return folder


class TestTree:
    def test_patient(self, tmp_path):
        folder = make_patient(tmp_path / "training" / "patient007")
        (patient,) = read_tree(tmp_path)
        assert (patient.id, patient.folder, patient.split_folder, patient.group) == (
            "patient007",
            folder,
            "training",
            "DCM",
        )
        assert (patient.height, patient.weight, patient.ed, patient.es) == (184.0, 95.0, 1, 9)
        assert [(frame.phase, frame.image.name, frame.label.name) for frame in patient.frames] == [
            ("ED", "patient007_frame01.nii.gz", "patient007_frame01_gt.nii.gz"),
            ("ES", "patient007_frame09.nii.gz", "patient007_frame09_gt.nii.gz"),
        ]

    @pytest.mark.parametrize("root", ["", "database"])
    def test_training_and_testing_sorted_by_id(self, tmp_path, root):
        make_patient(tmp_path / root / "testing" / "patient101")
        make_patient(tmp_path / root / "training" / "patient002")
        make_patient(tmp_path / root / "training" / "patient001")
        found = [(patient.id, patient.split_folder) for patient in read_tree(tmp_path)]
        assert found == [
            ("patient001", "training"),
            ("patient002", "training"),
            ("patient101", "testing"),
        ]
        assert is_acdc_tree(tmp_path)

    def test_split_folder_flat_folder_and_single_patient(self, tmp_path):
        folder = make_patient(tmp_path / "testing" / "patient101")
        flat = make_patient(tmp_path / "Herz-Übung 1" / "patient003")
        assert [patient.split_folder for patient in read_tree(folder.parent)] == ["testing"]
        assert [patient.split_folder for patient in read_tree(folder)] == ["testing"]
        assert [(patient.id, patient.split_folder) for patient in read_tree(flat.parent)] == [
            ("patient003", "")
        ]
        assert is_acdc_tree(folder.parent)
        assert is_acdc_tree(folder)
        assert is_acdc_tree(flat.parent)

    def test_working_directory_may_be_the_patient(self, tmp_path, monkeypatch):
        monkeypatch.chdir(make_patient(tmp_path / "patient004"))
        assert read_tree(Path("."))[0].id == "patient004"

    def test_uncompressed_files_without_labels(self, tmp_path):
        make_patient(tmp_path / "patient001", suffix=".nii", labels=False)
        (patient,) = read_tree(tmp_path)
        assert [(frame.image.name, frame.label) for frame in patient.frames] == [
            ("patient001_frame01.nii", None),
            ("patient001_frame09.nii", None),
        ]

    def test_other_folders_are_no_tree(self, tmp_path):
        (tmp_path / "patient001").mkdir()
        (tmp_path / "patient001" / "photo.png").touch()
        (tmp_path / "image").mkdir()
        assert not is_acdc_tree(tmp_path)
        assert not is_acdc_tree(tmp_path / "absent")
        with pytest.raises(
            DataError, match=r"image: no folders patient001, .* give the folder that holds them"
        ):
            read_tree(tmp_path / "image")

    def test_patient_in_training_and_testing(self, tmp_path):
        make_patient(tmp_path / "training" / "patient001")
        make_patient(tmp_path / "testing" / "patient001")
        with pytest.raises(DataError, match=r"patient001 lies in training/ and in testing/"):
            read_tree(tmp_path)


class TestInfo:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"ED": None}, "the key 'ED' is missing; add"),
            ({"Height": None}, "the key 'Height' is missing"),
            ({"Group": None}, "the key 'Group' is missing; add a line 'Group: NOR'"),
            ({"Group": "DCN"}, "Group 'DCN' is unknown; did you mean 'DCM'"),
            ({"ES": "nine"}, "ES is 'nine', it must be a positive number"),
            ({"ES": "9.5"}, "ES is '9.5', it must be a frame number"),
            ({"ES": "1e300", "NbFrame": None}, "ES is '1e300', it must be a frame number"),
            ({"ED": "0"}, "ED is '0', it must be a positive number"),
            ({"Weight": "nan"}, "Weight is 'nan'"),
            ({"ED": "9"}, "ED and ES are both frame 9"),
            ({"ES": "31"}, r"ES is frame 31 of 30 \(NbFrame\)"),
        ],
    )
    def test_wrong_entries_name_file_and_fix(self, tmp_path, changes, message):
        make_patient(tmp_path / "patient001", **changes)
        with pytest.raises(DataError, match=message) as error:
            read_tree(tmp_path)
        assert str(tmp_path / "patient001" / "Info.cfg") in str(error.value)

    def test_group_may_be_withheld_in_testing(self, tmp_path):
        make_patient(tmp_path / "testing" / "patient101", Group=None)
        assert read_tree(tmp_path)[0].group == ""

    def test_missing_file(self, tmp_path):
        (make_patient(tmp_path / "patient001") / "Info.cfg").unlink()
        assert is_acdc_tree(tmp_path)
        with pytest.raises(DataError, match=r"patient001.Info.cfg: the file is missing; copy"):
            read_tree(tmp_path)

    def test_line_without_colon(self, tmp_path):
        (make_patient(tmp_path / "patient001") / "Info.cfg").write_text("ED: 1\n\nES 9\n")
        with pytest.raises(DataError, match=r"Info.cfg, line 3: 'ES 9' is no 'Key: value'"):
            read_tree(tmp_path)

    def test_binary_file(self, tmp_path):
        (make_patient(tmp_path / "patient001") / "Info.cfg").write_bytes(b"\x1f\x8b\xff")
        with pytest.raises(DataError, match=r"Info.cfg: cannot read the file"):
            read_tree(tmp_path)

    def test_frame_absent_while_another_exists(self, tmp_path):
        make_patient(tmp_path / "patient001", ED="4")
        with pytest.raises(
            DataError,
            match=r"patient001_frame04.nii.gz: the ED frame .* has frame 01 and 09; add the file "
            r"or correct ED",
        ):
            read_tree(tmp_path)

    def test_no_frames(self, tmp_path):
        folder = make_patient(tmp_path / "patient001")
        for file in folder.glob("*.nii.gz"):
            file.unlink()
        with pytest.raises(DataError, match="has no frame at all"):
            read_tree(tmp_path)
