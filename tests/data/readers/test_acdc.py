from pathlib import Path

import pytest

from acdc_seg.config import DataConfig
from acdc_seg.data.readers import read_records
from acdc_seg.data.readers.acdc import is_acdc_tree, scan_acdc
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError

DATA = DataConfig()
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


def splits_of(records: list[Record]) -> dict[str, str]:
    return {record.patient: record.split for record in records}


class TestTree:
    def test_patient(self, tmp_path):
        folder = make_patient(tmp_path / "training" / "patient007")
        assert read_records("acdc", tmp_path, DATA) == [
            Record(
                f"patient007_{phase}",
                folder / f"patient007_frame{frame}.nii.gz",
                folder / f"patient007_frame{frame}_gt.nii.gz",
                patient="patient007",
                split="train",
                phase=phase,
                group="DCM",
            )
            for phase, frame in (("ED", "01"), ("ES", "09"))
        ]

    @pytest.mark.parametrize("root", ["", "database"])
    def test_training_and_testing_sorted_by_id(self, tmp_path, root):
        for name in ("testing/patient101", "training/patient002", "training/patient001"):
            make_patient(tmp_path / root / name)
        assert splits_of(read_records("acdc", tmp_path, DATA)) == {
            "patient001": "train",
            "patient002": "train",
            "patient101": "test",
        }
        assert is_acdc_tree(tmp_path, DATA)

    def test_split_folder_flat_folder_and_single_patient(self, tmp_path):
        folder = make_patient(tmp_path / "testing" / "patient101")
        flat = make_patient(tmp_path / "Herz-Übung 1" / "patient003")
        for path in (folder.parent, folder):
            assert splits_of(read_records("acdc", path, DATA)) == {"patient101": "test"}
            assert is_acdc_tree(path, DATA)
        assert splits_of(read_records("acdc", flat.parent, DATA)) == {"patient003": ""}
        assert is_acdc_tree(flat.parent, DATA)

    def test_working_directory_may_be_the_patient(self, tmp_path, monkeypatch):
        monkeypatch.chdir(make_patient(tmp_path / "patient004"))
        assert read_records("acdc", Path("."), DATA)[0].id == "patient004_ED"

    def test_uncompressed_files_without_labels(self, tmp_path):
        make_patient(tmp_path / "patient001", suffix=".nii", labels=False)
        assert [
            (record.image.name, record.mask) for record in read_records("acdc", tmp_path, DATA)
        ] == [
            ("patient001_frame01.nii", None),
            ("patient001_frame09.nii", None),
        ]

    def test_other_folders_are_no_tree(self, tmp_path):
        (tmp_path / "patient001").mkdir()
        (tmp_path / "patient001" / "photo.png").touch()
        (tmp_path / "image").mkdir()
        assert not is_acdc_tree(tmp_path, DATA)
        assert not is_acdc_tree(tmp_path / "absent", DATA)
        with pytest.raises(
            DataError, match=r"image: no folders patient001, .* give the folder that holds them"
        ):
            read_records("acdc", tmp_path / "image", DATA)

    def test_patient_in_training_and_testing(self, tmp_path):
        make_patient(tmp_path / "training" / "patient001")
        make_patient(tmp_path / "testing" / "patient001")
        with pytest.raises(DataError, match=r"patient001 is in both training/ and testing/"):
            read_records("acdc", tmp_path, DATA)


class TestInfo:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"ED": None}, "the key 'ED' is missing; add"),
            ({"Group": "DCN"}, "Group 'DCN' is unknown; did you mean 'DCM'"),
            ({"ES": "nine"}, "ES is 'nine', it must be a frame number"),
            ({"ES": "9.5"}, "ES is '9.5', it must be a frame number"),
            ({"ES": "1e300", "NbFrame": None}, "ES is '1e300', it must be a frame number"),
            ({"ES": "9" * 5000, "NbFrame": None}, "it must be a frame number"),
            ({"ED": "0"}, "ED is '0', it must be a frame number"),
            ({"NbFrame": "-3"}, "NbFrame is '-3', it must be a frame number"),
            ({"ED": "9"}, "ED and ES are both frame 9"),
            ({"ES": "31"}, r"ES is frame 31 of 30 \(NbFrame\)"),
        ],
    )
    def test_wrong_entries_name_file_and_fix(self, tmp_path, changes, message):
        make_patient(tmp_path / "patient001", **changes)
        with pytest.raises(DataError, match=message) as error:
            read_records("acdc", tmp_path, DATA)
        assert str(tmp_path / "patient001" / "Info.cfg") in str(error.value)

    def test_only_the_frames_are_needed(self, tmp_path):
        changes = dict.fromkeys(("Group", "Height", "Weight", "NbFrame"))
        folder = make_patient(tmp_path / "patient001", **changes)
        records, (problem,), _ = scan_acdc(tmp_path, DATA)
        assert [record.group for record in records] == ["", ""]
        assert (problem.severity, problem.code) == ("warning", "no_group")
        assert str(problem) == (
            f"{folder}/Info.cfg: the diagnosis ('Group') is unknown, so splits cannot be balanced "
            "by it"
        )

    def test_all_mistakes_are_found_at_once(self, tmp_path):
        make_patient(tmp_path / "patient001", ED="0", ES=None)
        make_patient(tmp_path / "patient002", Group="DCN")
        make_patient(tmp_path / "patient003")
        records, problems, _ = scan_acdc(tmp_path, DATA)
        assert splits_of(records) == {"patient003": ""}
        assert [(problem.path.parent.name, problem.text) for problem in problems] == [
            ("patient001", "ED is '0', it must be a frame number 1, 2, ..."),
            ("patient001", "the key 'ES' is missing"),
            ("patient002", "Group 'DCN' is unknown"),
        ]

    @pytest.mark.parametrize(("split", "labels"), [("training", False), ("testing", True)])
    def test_one_missing_mask_is_named(self, tmp_path, split, labels):
        make_patient(tmp_path / split / "patient001", labels=labels)
        path = tmp_path / split / "patient002/patient002_frame09_gt.nii.gz"
        make_patient(path.parent)
        path.unlink()
        _, problems, _ = scan_acdc(tmp_path, DATA)
        assert problems[-1].code == "no_mask"
        assert str(problems[-1]) == f"{path}: the mask of the ES frame is missing; add the file"
        assert len(problems) == (1 if labels else 3)

    def test_frames_inside_the_whole_beat(self, tmp_path):
        folder = make_patient(tmp_path / "training" / "patient001")
        (folder / "patient001_frame09.nii.gz").rename(folder / "patient001_4d.nii.gz")
        (ed, es), problems, _ = scan_acdc(tmp_path, DATA)
        assert problems == []
        assert (ed.image.name, ed.page) == ("patient001_frame01.nii.gz", None)
        assert (es.image.name, es.page) == ("patient001_4d.nii.gz", 8)
        assert es.mask == folder / "patient001_frame09_gt.nii.gz"
        es.mask.unlink()
        _, (problem,), _ = scan_acdc(tmp_path, DATA)
        assert problem.path == es.mask

    def test_group_may_be_withheld_in_testing(self, tmp_path):
        make_patient(tmp_path / "testing" / "patient101", Group=None)
        assert read_records("acdc", tmp_path, DATA)[0].group == ""

    def test_missing_file(self, tmp_path):
        (make_patient(tmp_path / "patient001") / "Info.cfg").unlink()
        assert is_acdc_tree(tmp_path, DATA)
        with pytest.raises(DataError, match=r"Info.cfg: cannot read the file \(No such file"):
            read_records("acdc", tmp_path, DATA)

    def test_line_without_colon(self, tmp_path):
        (make_patient(tmp_path / "patient001") / "Info.cfg").write_text("ED: 1\n\nES 9\n")
        with pytest.raises(DataError, match=r"Info.cfg: line 3: expected 'Key: value', got 'ES 9'"):
            read_records("acdc", tmp_path, DATA)

    def test_binary_file(self, tmp_path):
        (make_patient(tmp_path / "patient001") / "Info.cfg").write_bytes(b"\x1f\x8b\xff")
        with pytest.raises(DataError, match=r"Info.cfg: cannot read the file \(not a text\); copy"):
            read_records("acdc", tmp_path, DATA)

    def test_frame_absent_while_another_exists(self, tmp_path):
        make_patient(tmp_path / "patient001", ED="4")
        with pytest.raises(
            DataError,
            match=r"patient001_frame04.nii.gz: the ED frame .* the folder has "
            r"patient001_frame01.nii.gz and patient001_frame09.nii.gz; add the file or correct ED",
        ):
            read_records("acdc", tmp_path, DATA)

    def test_no_frames(self, tmp_path):
        folder = make_patient(tmp_path / "patient001")
        for file in folder.glob("*.nii.gz"):
            file.unlink()
        with pytest.raises(DataError, match="has no frame at all"):
            read_records("acdc", tmp_path, DATA)
