import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from acdc_seg.data.acdc import is_acdc_tree, read_tree, read_volume
from acdc_seg.errors import DataError

INFO = {"ED": "1", "ES": "9", "Group": "DCM", "Height": "184.0", "NbFrame": "30", "Weight": "95.0"}


def write_info(folder: Path, **changes: str | None) -> None:
    info = {key: value for key, value in {**INFO, **changes}.items() if value is not None}
    (folder / "Info.cfg").write_text("".join(f"{key}: {value}\n" for key, value in info.items()), encoding="utf-8")


def make_patient(folder: Path, *, suffix: str = ".nii.gz", labels: bool = True, **changes: str | None) -> Path:
    """A patient folder whose frame files are empty: reading the tree does not open them."""
    folder.mkdir(parents=True)
    write_info(folder, **changes)
    for frame in ("01", "09"):
        (folder / f"{folder.name}_frame{frame}{suffix}").touch()
        if labels:
            (folder / f"{folder.name}_frame{frame}_gt{suffix}").touch()
    return folder


def save(path: Path, voxels: np.ndarray, *, spacing=(1.5, 1.25, 10.0), origin=0.0) -> Path:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.fixture
def pair(tmp_path):
    """Image and label files of 4 x 3 x 2 voxels."""
    image = save(tmp_path / "image.nii.gz", np.arange(24, dtype=np.int16).reshape(4, 3, 2))
    label = save(tmp_path / "label.nii.gz", (np.arange(24) % 4).astype(np.uint8).reshape(4, 3, 2))
    return image, label


class TestTree:
    def test_patient(self, tmp_path):
        folder = make_patient(tmp_path / "training" / "patient007")
        (patient,) = read_tree(tmp_path)
        assert (patient.id, patient.folder, patient.split_folder, patient.group) == ("patient007", folder, "training", "DCM")
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
        assert found == [("patient001", "training"), ("patient002", "training"), ("patient101", "testing")]
        assert is_acdc_tree(tmp_path)

    def test_split_folder_flat_folder_and_single_patient(self, tmp_path):
        folder = make_patient(tmp_path / "testing" / "patient101")
        flat = make_patient(tmp_path / "Herz-Übung 1" / "patient003")
        assert [patient.split_folder for patient in read_tree(folder.parent)] == ["testing"]
        assert [patient.split_folder for patient in read_tree(folder)] == ["testing"]
        assert [(patient.id, patient.split_folder) for patient in read_tree(flat.parent)] == [("patient003", "")]
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
        with pytest.raises(DataError, match=r"image: no folders patient001, .* give the folder that holds them"):
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
        with pytest.raises(DataError, match=r"patient001_frame04.nii.gz: the ED frame .* has frame 01 and 09; add the file or correct ED"):
            read_tree(tmp_path)

    def test_no_frames(self, tmp_path):
        folder = make_patient(tmp_path / "patient001")
        for file in folder.glob("*.nii.gz"):
            file.unlink()
        with pytest.raises(DataError, match="has no frame at all"):
            read_tree(tmp_path)


class TestVolume:
    def test_values_types_and_spacing(self, pair):
        volume = read_volume(*pair)
        assert volume.spacing == (1.5, 1.25, 10.0)
        assert (volume.image.dtype, volume.image.shape) == (np.float32, (4, 3, 2))
        assert (volume.label.dtype, volume.label.shape) == (np.uint8, (4, 3, 2))
        assert volume.image[3, 2, 1] == 23
        assert volume.label[3, 2, 1] == 3

    def test_without_label_uncompressed_and_one_frame_in_four_dimensions(self, tmp_path):
        path = save(tmp_path / "image.nii", np.ones((4, 3, 2, 1), np.float32))
        volume = read_volume(path, None)
        assert volume.image.shape == (4, 3, 2)
        assert volume.label is None

    def test_scale_slope_is_applied(self, tmp_path):
        image = nib.Nifti1Image(np.full((2, 2, 2), 1.5), np.eye(4))
        image.set_data_dtype(np.int16)
        nib.save(image, tmp_path / "image.nii.gz")
        assert np.allclose(read_volume(tmp_path / "image.nii.gz", None).image, 1.5, atol=1e-3)

    def test_float_labels_that_are_whole_numbers(self, pair):
        save(pair[1], np.full((4, 3, 2), 2.0))
        assert (read_volume(*pair).label == 2).all()

    @pytest.mark.parametrize("kept", [0, 10, 60, -4])
    def test_truncated_file(self, pair, kept):
        pair[0].write_bytes(pair[0].read_bytes()[:kept])
        with pytest.raises(DataError, match=r"image.nii.gz: not a readable NIfTI file, truncated or damaged .*copy it again"):
            read_volume(*pair)

    def test_flipped_bit_fails_the_checksum(self, pair):
        content = bytearray(pair[0].read_bytes())
        content[-8] ^= 1
        pair[0].write_bytes(content)
        with pytest.raises(DataError, match="truncated or damaged"):
            read_volume(*pair)

    def test_truncated_inside_the_voxels_of_an_uncompressed_file(self, tmp_path):
        path = save(tmp_path / "image.nii", np.ones((4, 3, 2), np.float32))
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(DataError, match="truncated or damaged"):
            read_volume(path, None)

    def test_missing_file(self, pair):
        pair[1].unlink()
        with pytest.raises(DataError, match=r"label.nii.gz: the file is missing"):
            read_volume(*pair)

    def test_text_named_nifti(self, tmp_path):
        (tmp_path / "image.nii").write_text("no image " * 100)
        with pytest.raises(DataError, match="not a readable NIfTI file"):
            read_volume(tmp_path / "image.nii", None)

    def test_absurd_header_is_refused_before_loading(self, pair):
        header = bytearray(gzip.decompress(pair[0].read_bytes()))
        header[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
        pair[0].write_bytes(gzip.compress(bytes(header)))
        with pytest.raises(DataError, match=r"the header claims \(30000, 30000, 30000\) voxels, 50291.4 GiB; it is damaged"):
            read_volume(*pair)

    @pytest.mark.parametrize("bad", [0.0, -1.5, np.nan])
    def test_voxel_size_must_be_positive(self, pair, bad, capfd):
        content = bytearray(gzip.decompress(pair[0].read_bytes()))
        content[80:84] = np.array([bad], "<f4").tobytes()
        pair[0].write_bytes(gzip.compress(bytes(content)))
        with pytest.raises(DataError, match=rf"image.nii.gz: the voxel size \({bad:g}, 1.25, 10\) mm must be positive"):
            read_volume(*pair)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 5)])
    def test_single_slice_and_cine(self, tmp_path, shape):
        path = save(tmp_path / "image.nii.gz", np.ones(shape, np.float32))
        with pytest.raises(DataError, match=r"expected \(X, Y, Z\)"):
            read_volume(path, None)

    def test_colour_volume(self, tmp_path):
        path = save(tmp_path / "image.nii.gz", np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
        with pytest.raises(DataError, match="expected integers or real numbers"):
            read_volume(path, None)

    def test_shape_mismatch(self, pair):
        save(pair[1], np.zeros((4, 3, 3), np.uint8))
        with pytest.raises(DataError, match=r"label.nii.gz: the labels have shape \(4, 3, 3\), image.nii.gz has \(4, 3, 2\)"):
            read_volume(*pair)

    def test_spacing_mismatch(self, pair):
        save(pair[1], np.zeros((4, 3, 2), np.uint8), spacing=(1.5, 1.5, 10.0))
        with pytest.raises(
            DataError, match=r"label.nii.gz: voxels are \(1.5, 1.5, 10.0\) mm, those of image.nii.gz are \(1.5, 1.25, 10.0\)"
        ):
            read_volume(*pair)

    def test_affine_mismatch(self, pair):
        save(pair[1], np.zeros((4, 3, 2), np.uint8), origin=7.5)
        with pytest.raises(DataError, match=r"label.nii.gz: position or orientation \(affine\) differs from image.nii.gz by up to 7.5"):
            read_volume(*pair)

    def test_unknown_labels_are_counted(self, pair):
        label = np.zeros((4, 3, 2), np.int16)
        label[0, 0, 0], label[1], label[2, 0, 0] = 4, 300, -1
        save(pair[1], label)
        with pytest.raises(
            DataError, match=r"label -1 \(1 voxels\), 4 \(1 voxels\), 300 \(6 voxels\) is no class, the classes are \[0, 1, 2, 3\]"
        ):
            read_volume(*pair)

    def test_fractions_and_nan_are_no_labels(self, pair):
        label = np.zeros((4, 3, 2), np.float32)
        label[0, 0, 0], label[0, 0, 1] = 0.5, np.nan
        save(pair[1], label)
        with pytest.raises(DataError, match=r"label 0.5 \(1 voxels\), nan \(1 voxels\)"):
            read_volume(*pair)

    def test_allowed_values_are_the_caller_s(self, pair):
        save(pair[1], np.full((4, 3, 2), 85, np.uint8))
        assert read_volume(*pair, label_values=(0, 85, 170, 255)).label[0, 0, 0] == 85

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite_image(self, pair, value):
        image = np.ones((4, 3, 2), np.float32)
        image[0, :2, 0] = value
        save(pair[0], image)
        with pytest.raises(DataError, match=r"image.nii.gz: 2 voxels are NaN or infinite"):
            read_volume(*pair)
