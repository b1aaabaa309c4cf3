from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from acdc_seg.data.phantom.patients import Study, synthesize
from acdc_seg.errors import DataError
from acdc_seg.labels import GROUPS, LV, MYO, RV

EF_RANGES = {
    "NOR": (0.48, 0.72),
    "MINF": (0.15, 0.45),
    "DCM": (0.05, 0.40),
    "HCM": (0.55, 0.85),
    "RV": (0.45, 0.70),
}
"""LV ejection fractions that a group may have, measured on the masks."""


class PhantomPatient:
    """Images and masks `(X, Y, Z)` of one patient at ED and ES."""

    def __init__(self, number: int, *, seed: int, group: str) -> None:
        study = Study(number, seed=seed, group=group)
        self.number, self.group, self.info = number, group, study.info
        self.spacing = study.geometry.spacing
        self.images, self.masks = {}, {}
        for phase, frame in (("ED", study.ed), ("ES", study.es)):
            self.images[phase], self.masks[phase] = study.frame(frame)


@pytest.fixture(scope="module")
def patients() -> list[PhantomPatient]:
    return [
        PhantomPatient(number, seed=0, group=GROUPS[(number - 1) % 5]) for number in range(1, 16)
    ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "tree"
    synthesize(out, num_patients=2, num_test_patients=1, seed=4)
    return out


def ejection_fraction(patient: PhantomPatient, value: int) -> float:
    relaxed, contracted = ((patient.masks[phase] == value).sum() for phase in ("ED", "ES"))
    return 1 - contracted / relaxed


def milliliters(patient: PhantomPatient, value: int) -> float:
    return (patient.masks["ED"] == value).sum() * np.prod(patient.spacing) / 1000


def mean_of(
    patients: list[PhantomPatient],
    group: str,
    measure: Callable[[PhantomPatient, int], float],
    value: int,
) -> float:
    return float(
        np.mean([measure(patient, value) for patient in patients if patient.group == group])
    )


def test_lv_ejection_fraction_follows_the_group(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        low, high = EF_RANGES[patient.group]
        assert low < ejection_fraction(patient, LV.value) < high, (patient.number, patient.group)


def test_rv_group_has_a_large_and_weak_right_ventricle(patients: list[PhantomPatient]) -> None:
    assert (
        mean_of(patients, "RV", ejection_fraction, RV.value)
        < 0.4
        < mean_of(patients, "NOR", ejection_fraction, RV.value)
    )
    assert mean_of(patients, "RV", milliliters, RV.value) > 1.25 * mean_of(
        patients, "NOR", milliliters, RV.value
    )


def test_dcm_is_dilated_and_hcm_is_thick(patients: list[PhantomPatient]) -> None:
    assert mean_of(patients, "DCM", milliliters, LV.value) > 1.4 * mean_of(
        patients, "NOR", milliliters, LV.value
    )
    assert mean_of(patients, "HCM", milliliters, MYO.value) > 1.3 * mean_of(
        patients, "NOR", milliliters, MYO.value
    )


def test_heart_muscle_keeps_its_volume(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        assert abs(ejection_fraction(patient, MYO.value)) < 0.2, patient.number


def test_masks_hold_the_four_classes_in_every_volume(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        for mask in patient.masks.values():
            assert mask.dtype == np.uint8
            assert np.unique(mask).tolist() == [0, 1, 2, 3]


def test_lv_is_wrapped_in_myocardium_and_apart_from_the_rv(patients: list[PhantomPatient]) -> None:
    touching, outside, beside_rv = 0, 0, 0
    for patient in patients:
        for mask in patient.masks.values():
            for plane in np.moveaxis(mask, 2, 0):
                lv = plane == LV.value
                ring = ndimage.binary_dilation(lv) & ~lv
                touching += (plane[ring] == MYO.value).sum()
                outside += (plane[ring] == 0).sum()
                beside_rv += (plane[ring] == RV.value).sum()
    assert touching / (touching + outside + beside_rv) > 0.98
    assert beside_rv < 0.01 * touching


def test_every_plane_has_at_most_one_left_ventricle(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        for plane in np.moveaxis(patient.masks["ED"], 2, 0):
            assert ndimage.label(plane == LV.value)[1] <= 1, patient.number


def test_classes_shrink_towards_the_apex(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        areas = (patient.masks["ED"] == RV.value).sum(axis=(0, 1))
        last = np.flatnonzero(areas)[-1]
        assert areas[last] < 0.5 * areas.max()
        assert (patient.masks["ED"] == LV.value).sum(axis=(0, 1))[-1] < 0.5 * (
            patient.masks["ED"] == LV.value
        ).sum(axis=(0, 1)).max()


def test_geometry_and_types_are_like_those_of_acdc(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        rows, columns, slices = patient.masks["ED"].shape
        assert 154 <= rows <= 428
        assert 154 <= columns <= 428
        assert 6 <= slices <= 14
        assert patient.spacing[0] == patient.spacing[1]
        assert 0.70 <= patient.spacing[0] <= 1.95
        assert 5 <= patient.spacing[2] <= 10
    assert {patient.images["ED"].dtype.name for patient in patients} == {"int16", "float32"}
    assert len({patient.masks["ED"].shape for patient in patients}) > 10


def test_blood_is_brighter_than_muscle_and_muscle_than_lung(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        image, mask = patient.images["ED"], patient.masks["ED"]
        lv, myo, rv = (image[mask == value].mean() for value in (LV.value, MYO.value, RV.value))
        assert min(lv, rv) > 1.15 * myo > 0


def best_interval_dice(image: np.ndarray, mask: np.ndarray, *, num_bins: int = 40) -> float:
    """Dice of the best `low <= intensity < high` segmentation of one image."""
    edges = np.unique(np.quantile(image, np.linspace(0, 1, num_bins + 1)))
    inside = np.concatenate([[0], np.cumsum(np.histogram(image[mask], edges)[0])])
    every = np.concatenate([[0], np.cumsum(np.histogram(image, edges)[0])])
    hits = inside[None, :] - inside[:, None]
    found = every[None, :] - every[:, None]
    return float((2 * hits / np.maximum(found + mask.sum(), 1)).max())


def test_best_interval_dice_on_a_known_image() -> None:
    image = np.repeat(np.arange(4.0), 10)
    mask = image == 2
    assert best_interval_dice(image, mask) == 1
    mask[:10] = (
        True  # values 0 and 2; best is 2 alone: 2 * 10 / (10 + 20), or 0..2: 2 * 20 / (30 + 20)
    )
    assert best_interval_dice(image, mask) == pytest.approx(0.8)


def test_thresholds_cannot_solve_it(patients: list[PhantomPatient]) -> None:
    scores = []
    for patient in patients[:5]:
        image, mask = patient.images["ED"], patient.masks["ED"]
        half = round(86 / patient.spacing[0])
        x, y = (max(int(center) - half, 0) for center in np.argwhere(mask > 0).mean(axis=0)[:2])
        for z in range(image.shape[2]):
            crop, truth = (
                image[x : x + 2 * half, y : y + 2 * half, z],
                mask[x : x + 2 * half, y : y + 2 * half, z],
            )
            scores += [
                best_interval_dice(crop, truth == value)
                for value in (1, 2, 3)
                if (truth == value).any()
            ]
    assert np.mean(scores) < 0.6


def test_patient_depends_on_seed_and_number_alone() -> None:
    first, again = (PhantomPatient(7, seed=3, group="MINF") for _ in range(2))
    assert first.info == again.info
    assert all(np.array_equal(first.images[phase], again.images[phase]) for phase in ("ED", "ES"))
    other_seed, other_number = (
        PhantomPatient(7, seed=4, group="MINF"),
        PhantomPatient(8, seed=3, group="MINF"),
    )
    for other in (other_seed, other_number):
        assert not np.array_equal(first.images["ED"], other.images["ED"])


def test_tree_is_laid_out_like_acdc(tree: Path) -> None:
    found = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_dir())
    assert found == [
        "testing",
        "testing/patient003",
        "training",
        "training/patient001",
        "training/patient002",
    ]
    folder = tree / "training" / "patient002"
    lines = (folder / "Info.cfg").read_text().splitlines()
    info = dict(line.split(": ") for line in lines)
    assert list(info) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
    assert info["Group"] == "MINF"
    assert 1 <= int(info["ED"]) < int(info["ES"]) <= int(info["NbFrame"])
    assert 100 < float(info["Height"]) < 220
    frames = [f"patient002_frame{int(info[phase]):02d}" for phase in ("ED", "ES")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["Info.cfg", *(f"{frame}{end}.nii.gz" for frame in frames for end in ("", "_gt"))]
    )


def test_files_hold_the_patients_arrays_and_spacing(tree: Path) -> None:
    patient = PhantomPatient(1, seed=4, group="NOR")
    folder = tree / "training" / "patient001"
    for phase in ("ED", "ES"):
        name = f"patient001_frame{int(patient.info[phase]):02d}"
        image, mask = (
            nib.Nifti1Image.from_filename(folder / f"{name}.nii.gz"),
            nib.Nifti1Image.from_filename(folder / f"{name}_gt.nii.gz"),
        )
        assert np.array_equal(np.asarray(image.dataobj), patient.images[phase])
        assert np.array_equal(np.asarray(mask.dataobj), patient.masks[phase])
        assert mask.get_data_dtype() == np.uint8
        assert image.header.get_zooms() == pytest.approx(patient.spacing)
        assert np.allclose(np.abs(np.diag(image.affine)), [*patient.spacing, 1], atol=1e-4)
        assert np.array_equal(image.affine, mask.affine)


def test_same_seed_writes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    synthesize(again, num_patients=1, num_test_patients=0, seed=4)
    for path in (again / "training" / "patient001").iterdir():
        assert path.read_bytes() == (tree / "training" / "patient001" / path.name).read_bytes()


def test_numbers_of_names_begin_anywhere(tree: Path, tmp_path: Path) -> None:
    folders = synthesize(tmp_path / "more", num_patients=1, num_test_patients=1, seed=4, first=201)
    assert [folder.name for folder in folders] == ["patient201", "patient202"]
    mine, theirs = (sorted(root.glob("training/*1/*.nii.gz")) for root in (tmp_path / "more", tree))
    assert mine[0].name == theirs[0].name.replace("patient001", "patient201")
    assert mine[0].read_bytes() == theirs[0].read_bytes()


def test_cine_holds_the_labelled_frames(tmp_path: Path) -> None:
    (folder,) = synthesize(
        tmp_path / "cine", num_patients=1, num_test_patients=0, seed=2, cine=True
    )
    patient = PhantomPatient(1, seed=2, group="NOR")
    cine = nib.Nifti1Image.from_filename(folder / "patient001_4d.nii.gz")
    assert cine.shape == (*patient.masks["ED"].shape, int(patient.info["NbFrame"]))
    assert cine.header.get_zooms()[:3] == pytest.approx(patient.spacing)
    for phase in ("ED", "ES"):
        assert np.array_equal(
            np.asarray(cine.dataobj[..., int(patient.info[phase]) - 1]), patient.images[phase]
        )


def test_progress_counts_patients(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folders = synthesize(
        tmp_path / "new" / "tree",
        num_patients=1,
        num_test_patients=1,
        on_progress=lambda *call: seen.append(call),
    )
    assert seen == [("phantom patients", 1, 2), ("phantom patients", 2, 2)]
    assert [folder.relative_to(tmp_path / "new" / "tree").as_posix() for folder in folders] == [
        "training/patient001",
        "testing/patient002",
    ]


def test_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        synthesize(tmp_path, num_patients=1, num_test_patients=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "tree", num_patients=2, num_test_patients=0, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("counts", [(0, 0), (-1, 3), (2, -1)])
def test_impossible_counts_are_refused(tmp_path: Path, counts: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="at least one patient"):
        synthesize(tmp_path / "tree", num_patients=counts[0], num_test_patients=counts[1])
