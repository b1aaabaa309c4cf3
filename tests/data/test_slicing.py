import json
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest

from acdc_seg import __version__
from acdc_seg.config import DataConfig, PrepareConfig
from acdc_seg.data.readers import read_records
from acdc_seg.data.record import Record
from acdc_seg.data.slicing import crop_slice, prepare
from acdc_seg.data.splits import hold_out, select_splits
from acdc_seg.errors import DataError

NATIVE = PrepareConfig(spacing=None, size=(6, 6))


def make_tree(
    root: Path,
    patients: dict[str, str],
    *,
    label_boxes=((3, 5), (4, 6)),
    spacing=(1.8, 1.8, 10.0),
    depth=3,
) -> Path:
    """ACDC tree of 12 x 10 pixel volumes; `patients` maps an id to its split folder.

    Label 2 fills columns 4 and 5 of the rows in `label_boxes`, one (first, last) for ED and one for
    ES, in slice 0 only. An empty `label_boxes` writes no labels.
    """
    rng = np.random.default_rng(0)
    for number, (name, split_folder) in enumerate(patients.items()):
        folder = root / split_folder / name
        folder.mkdir(parents=True)
        group = ("NOR", "DCM")[number % 2]
        (folder / "Info.cfg").write_text(
            f"ED: 1\nES: 5\nGroup: {group}\nHeight: 170\nNbFrame: 20\nWeight: 70\n"
        )
        for index, frame in enumerate(("01", "05")):
            save(
                folder / f"{name}_frame{frame}.nii.gz",
                rng.integers(0, 500, (12, 10, depth)).astype(np.int16),
                spacing,
            )
            if label_boxes:
                label = np.zeros((12, 10, depth), np.uint8)
                first, last = label_boxes[index]
                label[first : last + 1, 4:6, 0] = 2
                save(folder / f"{name}_frame{frame}_gt.nii.gz", label, spacing)
    return root


def volumes_of(tree: Path) -> list[Record]:
    return hold_out(read_records("acdc", tree, DataConfig()), val_fraction=0.2, seed=0)


def save(path: Path, voxels: np.ndarray, spacing: tuple[float, ...]) -> None:
    nib.save(nib.Nifti1Image(voxels, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])), path)


def read_png(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class TestCropSlice:
    def test_masks_are_nearest_on_half_pixel_centers(self):
        label = np.array([[0, 1, 2, 3, 1, 2]] * 2, np.uint8)
        cropped = crop_slice(
            np.zeros((2, 6)),
            label,
            spacing=(1.5, 1.0),
            settings=PrepareConfig(spacing=1.5, size=(2, 4)),
        )
        assert (
            cropped.mask.tolist() == [[0, 2, 3, 2]] * 2
        )  # (2, 4): centers 0.75, 2.25, 3.75, 5.25 lie in pixels 0, 2, 3, 5
        assert cropped.spacing == (1.5, 1.5)

    def test_images_are_linear_on_half_pixel_centers(self):
        image = np.array([[0, 30, 60, 90]], np.float32).repeat(4, axis=0)
        cropped = crop_slice(
            image, None, spacing=(1.0, 1.0), settings=PrepareConfig(spacing=2.0, size=(2, 2))
        )
        assert cropped.image.tolist() == [[0, 255]] * 2  # values 15 and 75
        assert cropped.mask is None

    def test_size_is_floored_and_the_true_spacing_told(self):
        cropped = crop_slice(
            np.ones((10, 7)),
            None,
            spacing=(1.0, 1.0),
            settings=PrepareConfig(spacing=1.8, size=(4, 4)),
        )
        assert cropped.spacing == (2.0, pytest.approx(7 / 3))  # 10 / 1.8 = 5.6, 7 / 1.8 = 3.9
        assert cropped.corner == (1, 0)  # (5 - 4) / 2 and (3 - 4) / 2, halves rounded up

    def test_float32_spacing_does_not_lose_a_pixel(self):
        spacing = float(np.float32(1.8))
        cropped = crop_slice(
            np.ones((100, 100)),
            None,
            spacing=(spacing, spacing),
            settings=PrepareConfig(spacing=1.8, size=(4, 4)),
        )
        assert cropped.spacing == pytest.approx((1.8, 1.8))  # 99 pixels would be 1.818 mm

    def test_no_spacing_keeps_the_pixels(self):
        label = np.arange(64, dtype=np.uint8).reshape(8, 8)
        cropped = crop_slice(
            label, label, spacing=(1.3, 0.7), settings=PrepareConfig(spacing=None, size=(4, 2))
        )
        assert cropped.spacing == (1.3, 0.7)
        assert cropped.corner == (2, 3)
        assert (cropped.mask == label[2:6, 3:5]).all()

    def test_center_in_mm(self):
        label = np.arange(64, dtype=np.uint8).reshape(8, 8)
        cropped = crop_slice(
            label,
            label,
            spacing=(2.0, 0.5),
            settings=PrepareConfig(spacing=None, size=(2, 2)),
            center=(6.0, 2.5),
        )
        assert cropped.corner == (2, 4)
        assert (cropped.mask == label[2:4, 4:6]).all()

    def test_crop_beyond_the_slice_is_padded_with_zeros(self):
        label = np.full((4, 4), 3, np.uint8)
        cropped = crop_slice(label, label, spacing=(1.0, 1.0), settings=NATIVE, center=(0.0, 4.0))
        assert cropped.corner == (-3, 1)
        expected = np.zeros((6, 6))
        expected[3:, :3] = 3
        assert (cropped.mask == expected).all()
        assert (cropped.image == expected * 85).all()

    def test_crop_wholly_outside_is_empty(self):
        cropped = crop_slice(
            np.ones((4, 4)),
            np.ones((4, 4), np.uint8),
            spacing=(1.0, 1.0),
            settings=NATIVE,
            center=(50.0, 50.0),
        )
        assert not cropped.image.any()
        assert not cropped.mask.any()

    def test_grey_values_are_stretched_between_percentiles_of_the_wider_window(self):
        image = np.zeros((8, 8))
        image[1:7, 1:7] = np.linspace(100, 200, 36).reshape(6, 6)
        low, high = (
            0.0,
            np.percentile(image, 99),
        )  # the window of a 6 x 6 crop has 8 x 8 pixels, 28 of them zero
        cropped = crop_slice(image, None, spacing=(1.0, 1.0), settings=NATIVE)
        assert cropped.image.dtype == np.uint8
        assert cropped.image[0, 0] == int(100 * 255 / (high - low))
        assert cropped.image[5, 5] == 255

    @pytest.mark.parametrize("value", [0.0, 7.0])
    def test_constant_slice_is_black(self, value):
        assert not crop_slice(
            np.full((20, 20), value), None, spacing=(1.0, 1.0), settings=NATIVE
        ).image.any()


def test_whole_slices_need_no_mask():
    image = np.arange(120.0).reshape(12, 10)
    settings = PrepareConfig(spacing=0.9, crop="none")
    whole = crop_slice(image, None, spacing=(1.8, 0.9), settings=settings)
    assert (whole.image.shape, whole.corner, whole.mask) == ((24, 10), (0, 0), None)
    assert whole.spacing == (0.9, 0.9)
    assert (whole.image[0, 0], whole.image[-1, -1]) == (0, 255)


class TestPrepare:
    def test_files_and_tables(self, tmp_path):
        tree = make_tree(
            tmp_path / "tree",
            {"patient001": "training", "patient002": "training", "patient101": "testing"},
        )
        splits = {"train": ["patient002"], "test": ["patient101"]}
        num_images = prepare(
            select_splits(volumes_of(tree), splits), tmp_path / "deep" / "out", settings=NATIVE
        )
        out = tmp_path / "deep" / "out"
        names = [
            f"{patient}_{phase}_s0{index}"
            for patient in ("patient002", "patient101")
            for phase in ("ED", "ES")
            for index in range(3)
        ]
        split = {"patient002": "train", "patient101": "test"}
        expected = {f"{split[name[:10]]}/image/{name}.png" for name in names} | {
            f"{split[name[:10]]}/mask/{name}_mask.png" for name in names
        }
        assert files_below(out) == expected | {"records.csv", "splits.json", "prepare.json"}
        assert num_images == {"train": 6, "test": 6}
        lines = (out / "records.csv").read_bytes().decode().split("\n")
        assert (
            lines[0] == "id,image,mask,split,patient,phase,group,slice,"
            "spacing_row,spacing_col,spacing_slice,crop_row,crop_col"
        )
        assert lines[1] == (
            "patient002_ED_s00,train/image/patient002_ED_s00.png,"
            "train/mask/patient002_ED_s00_mask.png,train,patient002,ED,DCM,0,1.8,1.8,10,2,2"
        )
        assert [line.split(",")[0] for line in lines[1:-1]] == names
        assert json.loads((out / "splits.json").read_text()) == {
            "train": ["patient002"],
            "val": [],
            "test": ["patient101"],
        }
        made_by = json.loads((out / "prepare.json").read_text())
        assert made_by["acdc_seg"] == __version__
        assert made_by["settings"]["size"] == [6, 6]

    def test_one_crop_for_both_phases_around_all_labels(self, tmp_path):
        tree = make_tree(tmp_path / "tree", {"patient001": ""}, label_boxes=((1, 2), (7, 8)))
        prepare(volumes_of(tree), tmp_path / "out", settings=NATIVE)
        masks = {
            phase: read_png(tmp_path / f"out/train/mask/patient001_{phase}_s00_mask.png")
            for phase in ("ED", "ES")
        }
        # Rows 1 to 8 and columns 4 and 5 are labelled: the middle is (5, 5), the corner (2, 2).
        assert np.argwhere(masks["ED"]).tolist() == [[0, 2], [0, 3]]
        assert np.argwhere(masks["ES"]).tolist() == [[5, 2], [5, 3]]
        assert set(np.unique(masks["ED"])) == {0, 2}

    def test_crop_at_the_image_center(self, tmp_path):
        tree = make_tree(tmp_path / "tree", {"patient001": ""})
        prepare(
            volumes_of(tree),
            tmp_path / "out",
            settings=NATIVE.model_copy(update={"crop": "center"}),
        )
        assert (
            (tmp_path / "out" / "records.csv").read_text().splitlines()[1].endswith(",3,2")
        )  # (12 - 6) / 2, (10 - 6) / 2

    def test_volumes_without_labels_are_cut_at_the_center_and_get_no_masks(self, tmp_path):
        tree = make_tree(tmp_path / "tree", {"patient101": "testing"}, label_boxes=())
        prepare(volumes_of(tree), tmp_path / "out", settings=NATIVE)
        assert (tmp_path / "out" / "records.csv").read_text().splitlines()[1].endswith(",3,2")
        assert len(list((tmp_path / "out/test/image").iterdir())) == 6
        assert not list((tmp_path / "out/test/mask").iterdir())
        assert [
            record.mask for record in read_records("paired", tmp_path / "out", DataConfig())
        ] == [None] * 6

    @pytest.mark.parametrize(("depth", "middle"), [(1, "s00"), (3, "s01"), (4, "s02"), (6, "s02")])
    def test_mid_slice_of_one_phase(self, tmp_path, depth, middle):
        tree = make_tree(tmp_path / "tree", {"patient001": ""}, depth=depth)
        settings = PrepareConfig(size=(8, 8), slices="mid", phases=("ES",))
        assert prepare(volumes_of(tree), tmp_path / "out", settings=settings) == {"train": 1}
        assert [path.stem for path in (tmp_path / "out/train/image").iterdir()] == [
            f"patient001_ES_{middle}"
        ]

    def test_official_folders_and_records(self, tmp_path):
        patients = {f"patient{number:03d}": "training" for number in range(1, 11)} | {
            "patient101": "testing"
        }
        tree = make_tree(tmp_path / "tree", patients, depth=1)
        num_images = prepare(volumes_of(tree), tmp_path / "out", settings=NATIVE)
        assert num_images == {"train": 16, "val": 4, "test": 2}
        records = read_records("paired", tmp_path / "out", DataConfig())
        assert {record.patient for record in records if record.split == "test"} == {"patient101"}
        assert {record.group for record in records if record.split == "val"} == {"NOR", "DCM"}
        assert records[0].spacing == (1.8, 1.8)
        assert (records[0].slice, records[0].slice_spacing) == (0, 10)

    def test_equal_input_gives_equal_bytes(self, tmp_path):
        tree = make_tree(tmp_path / "tree", {"patient001": "", "patient002": ""})
        for name in ("a", "b"):
            prepare(volumes_of(tree), tmp_path / name, settings=NATIVE)
        assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
        assert all(
            (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
            for name in files_below(tmp_path / "a")
        )

    def test_progress_and_empty_target(self, tmp_path):
        tree = make_tree(tmp_path / "Herz Übung", {"patient001": "", "patient002": ""})
        (tmp_path / "Schnitte 1é").mkdir()
        calls = []
        prepare(
            volumes_of(tree),
            tmp_path / "Schnitte 1é",
            settings=NATIVE,
            on_progress=lambda *call: calls.append(call),
        )
        assert calls == [("volumes cut into slices", done, 4) for done in (1, 2, 3, 4)]
        assert (tmp_path / "Schnitte 1é" / "records.csv").is_file()


class TestErrors:
    def test_a_folder_that_holds_something_is_kept(self, tmp_path):
        tree = make_tree(tmp_path / "tree", {"patient001": ""})
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_text("mine")
        with pytest.raises(DataError, match="out: exists already and is not an empty folder"):
            prepare(volumes_of(tree), tmp_path / "out", settings=NATIVE)
        assert files_below(tmp_path / "out") == {"notes.txt"}

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, DataError])
    def test_nothing_half_written_stays(self, tmp_path, stop):
        tree = make_tree(tmp_path / "tree", {"patient001": "", "patient002": ""})

        def on_progress(what: str, done: int, total: int) -> None:
            if done == 2:
                raise stop("stopped")

        with pytest.raises(stop):
            prepare(volumes_of(tree), tmp_path / "out", settings=NATIVE, on_progress=on_progress)
        assert [path.name for path in tmp_path.iterdir()] == ["tree"]

    def test_voxels_of_absurd_size_name_the_slice(self, tmp_path):
        tree = make_tree(tmp_path / "tree", {"patient001": ""}, spacing=(3e4, 3e4, 10.0))
        with pytest.raises(
            DataError,
            match=r"^patient001_ED_s00: a slice of 12 x 10 pixels of 30000 x 30000 mm would have "
            r"more than 67,108,864",
        ):
            prepare(volumes_of(tree), tmp_path / "out", settings=PrepareConfig())
        assert not (tmp_path / "out").exists()
