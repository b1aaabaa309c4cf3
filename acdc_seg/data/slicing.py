"""Cuts the slices of NIfTI volumes to small 8-bit PNG images and masks, in the geometry of the
coursework slices.

Row is NIfTI x, column is NIfTI y. A slice is resampled to square pixels of `spacing` (output size
floored; image linear, mask nearest, both on half-pixel centers), cropped around the heart, and its
grey values are stretched to 0..255. The crop's center is the middle of the bounding box of all
labels of all phases of a patient, so that ED and ES align.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from acdc_seg import __version__
from acdc_seg.config import PrepareConfig, to_dict
from acdc_seg.data.images import LARGEST_IMAGE
from acdc_seg.data.readers.acdc import Patient, read_tree
from acdc_seg.data.readers.paired import SPLITS
from acdc_seg.data.splits import check_disjoint, split_patients
from acdc_seg.data.volumes import Volume, read_volume
from acdc_seg.errors import DataError
from acdc_seg.files import write_table

COLUMNS = (
    "id",
    "split",
    "patient",
    "phase",
    "group",
    "slice",
    "spacing_row",
    "spacing_col",
    "crop_row",
    "crop_col",
)
STRETCH_PERCENTILES = (1, 99)
"""Grey values that become 0 and 255."""
Row = dict[str, str | int]
"""One line of records.csv."""


@dataclass(frozen=True)
class Cut:
    """`image` and `mask` (or None) uint8 `(H, W)`, pixel `spacing` (row, column) in mm, first pixel
    `corner` in the resampled slice.
    """

    image: np.ndarray
    mask: np.ndarray | None
    spacing: tuple[float, float]
    corner: tuple[int, int]


@dataclass(frozen=True)
class PrepareSummary:
    """What was written: number of patients and images of each split, and of patients that the
    splits leave out.
    """

    out: Path
    num_patients: Mapping[str, int]
    num_images: Mapping[str, int]
    num_left_out: int


def prepare(
    tree: Path,
    out: Path,
    *,
    settings: PrepareConfig,
    splits: Mapping[str, Sequence[str]] | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
    on_volume: Callable[[int, int], None] | None = None,
) -> PrepareSummary:
    """Writes `out/{train,val,test}/image/ID.png` and `mask/ID_mask.png`, records.csv, splits.json
    and prepare.json.

    The folder appears when everything is written; on an error or an interrupt nothing is left.

    Args:
        tree: ACDC tree.
        out: Folder to make; it must not exist, or be empty.
        splits: Patients of train, val and test; patients that are not named are left out. None
            takes testing/ as test and divides the others by `split_patients` with `val_fraction`
            and `split_seed`.
        on_volume: Called after each volume with the number done and the number of all.

    Raises:
        DataError: A broken tree or volume, unknown patients or one in two splits, `out` holds
            something or cannot be written.
    """
    patients = read_tree(tree)
    home = (
        _explicit_splits(tree, patients, splits)
        if splits is not None
        else _official_splits(patients, val_fraction, split_seed)
    )
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out}: there is something already; give another folder or remove it")
    chosen = [patient for patient in patients if patient.id in home]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            unfinished = Path(scratch) / out.name
            unfinished.mkdir()
            rows = _write_slices(chosen, home, unfinished, settings, on_volume)
            _write_tables(unfinished, rows, home, settings)
            if out.is_dir():
                out.rmdir()
            unfinished.rename(out)
    except OSError as error:
        raise DataError(
            f"{out}: cannot write the slices ({error.strerror or error}); check free space and "
            "permissions"
        ) from error
    num_images = Counter(str(row["split"]) for row in rows)
    return PrepareSummary(out, Counter(home.values()), num_images, len(patients) - len(chosen))


def cut_slice(
    image: np.ndarray,
    label: np.ndarray | None,
    *,
    spacing: tuple[float, float],
    settings: PrepareConfig,
    center: tuple[float, float] | None = None,
) -> Cut:
    """Resamples, crops and stretches one slice.

    Args:
        image: Grey values `(X, Y)`.
        label: Class numbers `(X, Y)`, or None.
        spacing: Pixel size (x, y) in mm.
        center: Middle of the crop (x, y) in mm from the slice's corner; None takes the middle of
            the slice.

    Raises:
        DataError: The resampled slice would have more than `LARGEST_IMAGE` pixels.
    """
    extent = np.array(image.shape) * spacing
    pixels = _resampled_shape(image.shape, spacing, settings.spacing)
    resampled_spacing = extent / pixels
    size = np.array(settings.size)
    corner = np.floor(
        (extent / 2 if center is None else np.array(center)) / resampled_spacing - size / 2 + 0.5
    ).astype(int)
    margin = size // 6
    resampled = (
        _nearest(image, pixels) if settings.interpolation == "nearest" else _linear(image, pixels)
    )
    stretched = _stretch(_crop(resampled, corner - margin, size + 2 * margin))
    return Cut(
        image=_crop(stretched, margin, size),
        mask=None if label is None else _crop(_nearest(label, pixels), corner, size),
        spacing=(float(resampled_spacing[0]), float(resampled_spacing[1])),
        corner=(int(corner[0]), int(corner[1])),
    )


def _resampled_shape(
    shape: tuple[int, ...], spacing: tuple[float, float], target: float | None
) -> tuple[int, int]:
    """Floored number of pixels of size `target` in the slice; headers hold float32, so 99.9999
    counts as 100.
    """
    if target is None:
        return shape[0], shape[1]
    rows, columns = (
        max(1, int(count * size / target + 1e-4))
        for count, size in zip(shape, spacing, strict=True)
    )
    if rows * columns > LARGEST_IMAGE:
        raise DataError(
            f"a slice of {shape[0]} x {shape[1]} pixels of {spacing[0]:g} x {spacing[1]:g} mm "
            f"would have more than {LARGEST_IMAGE:,} "
            f"pixels of {target:g} mm; correct the voxel size in its header, or set prepare.spacing"
        )
    return rows, columns


def _linear(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return cv2.resize(
        np.ascontiguousarray(image, np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR
    )


def _nearest(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour on half-pixel centers; a tie takes the higher index, which OpenCV's
    variants do not promise.
    """
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(int)
        for old, new in zip(pixels.shape, shape, strict=True)
    )
    return pixels[np.ix_(rows, columns)]


def _crop(pixels: np.ndarray, corner: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The window of `size` at `corner`, zero where it leaves the slice."""
    window = np.zeros(tuple(size), pixels.dtype)
    first, last = np.maximum(corner, 0), np.minimum(corner + size, pixels.shape)
    if (first < last).all():
        (top, left), (bottom, right) = first - corner, last - corner
        window[top:bottom, left:right] = pixels[first[0] : last[0], first[1] : last[1]]
    return window


def _stretch(window: np.ndarray) -> np.ndarray:
    """Grey values between two percentiles of the window to 0..255, truncated; a constant window
    becomes 0.

    The window is the crop and a third more of the surroundings (128 pixels for 96): the rule of the
    coursework slices.
    """
    low, high = np.percentile(window, STRETCH_PERCENTILES)
    scale = 255 / (high - low) if high > low else 0.0
    return np.clip((window - low) * scale, 0, 255).astype(np.uint8)


def _explicit_splits(
    tree: Path, patients: Sequence[Patient], splits: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Split by patient id, as given."""
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise DataError(f"split '{unknown[0]}' is unknown; the splits are {', '.join(SPLITS)}")
    check_disjoint(splits)
    if not any(splits.values()):
        raise DataError("the splits name no patient; name some in train, val or test")
    home = {patient: split for split in SPLITS for patient in splits.get(split, ())}
    if missing := sorted(set(home) - {patient.id for patient in patients}):
        raise DataError(
            f"{tree}: {len(missing)} patients of the splits are not there, first "
            f"{', '.join(missing[:3])}; correct the splits"
        )
    return home


def _official_splits(patients: Sequence[Patient], val_fraction: float, seed: int) -> dict[str, str]:
    """Split by patient id: testing/ is test, the others are divided."""
    groups = {
        patient.id: patient.group for patient in patients if patient.split_folder != "testing"
    }
    _, val = split_patients(groups, val_fraction=val_fraction, seed=seed)
    return {
        patient.id: "test" if patient.id not in groups else "val" if patient.id in val else "train"
        for patient in patients
    }


def _write_slices(
    patients: Sequence[Patient],
    home: Mapping[str, str],
    out: Path,
    settings: PrepareConfig,
    on_volume: Callable[[int, int], None] | None,
) -> list[Row]:
    """Writes images and masks of all patients below `out`, and returns the lines of records.csv."""
    for split in set(home.values()):
        (out / split / "image").mkdir(parents=True)
        (out / split / "mask").mkdir()
    rows: list[Row] = []
    done, total = 0, len(patients) * len(set(settings.phases))
    for patient in patients:
        frames = [frame for frame in patient.frames if frame.phase in settings.phases]
        volumes = {frame.phase: read_volume(frame.image, frame.label) for frame in frames}
        center = _heart_center(volumes.values()) if settings.crop == "heart" else None
        for phase, volume in volumes.items():
            rows += _write_volume(
                out,
                volume,
                patient=patient,
                phase=phase,
                split=home[patient.id],
                center=center,
                settings=settings,
            )
            done += 1
            if on_volume:
                on_volume(done, total)
    return rows


def _heart_center(volumes: Iterable[Volume]) -> tuple[float, float] | None:
    """Middle (x, y), in mm, of the box around all labels of all volumes; None where nothing is
    labelled.
    """
    boxes = [
        _label_box(volume) for volume in volumes if volume.label is not None and volume.label.any()
    ]
    if not boxes:
        return None
    x, y = (np.min(boxes, axis=0)[0] + np.max(boxes, axis=0)[1]) / 2
    return float(x), float(y)


def _label_box(volume: Volume) -> list[np.ndarray]:
    """First and last edge, each (x, y) in mm, of the box around the labels of all slices."""
    assert volume.label is not None
    occupied = np.argwhere(volume.label.any(axis=2))  # (N, 2)
    return [
        occupied.min(axis=0) * volume.spacing[:2],
        (occupied.max(axis=0) + 1) * volume.spacing[:2],
    ]


def _write_volume(
    out: Path,
    volume: Volume,
    *,
    patient: Patient,
    phase: str,
    split: str,
    center: tuple[float, float] | None,
    settings: PrepareConfig,
) -> list[Row]:
    rows: list[Row] = []
    num_slices = volume.image.shape[2]
    for index in range(num_slices) if settings.slices == "all" else (round((num_slices - 1) / 2),):
        label = None if volume.label is None else volume.label[:, :, index]
        name = f"{patient.id}_{phase}_s{index:02d}"
        try:
            cut = cut_slice(
                volume.image[:, :, index],
                label,
                spacing=volume.spacing[:2],
                settings=settings,
                center=center,
            )
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        _write_png(out / split / "image" / f"{name}.png", cut.image)
        if cut.mask is not None:
            _write_png(out / split / "mask" / f"{name}_mask.png", cut.mask)
        spacing = [f"{size:.6g}" for size in cut.spacing]
        rows.append(
            dict(
                zip(
                    COLUMNS,
                    (name, split, patient.id, phase, patient.group, index, *spacing, *cut.corner),
                    strict=True,
                )
            )
        )
    return rows


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _write_tables(
    out: Path, rows: Sequence[Row], home: Mapping[str, str], settings: PrepareConfig
) -> None:
    write_table(
        out / "records.csv", [COLUMNS, *([row[column] for column in COLUMNS] for row in rows)]
    )
    splits = {
        split: sorted(patient for patient in home if home[patient] == split) for split in SPLITS
    }
    made_by = {"settings": to_dict(settings), "acdc_seg": __version__}
    for name, content in (("splits.json", splits), ("prepare.json", made_by)):
        (out / name).write_text(
            json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n"
        )
