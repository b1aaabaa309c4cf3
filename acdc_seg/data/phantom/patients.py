"""The embedded data: a synthetic ACDC tree of cardiac phantoms, for runs without data.

Each patient is a function of the seed and the patient's number alone. Anatomy, motion and signal
are schematic; file names, `Info.cfg`, spacings and matrix sizes are like those of ACDC (Bernard et
al., IEEE TMI 2018).
"""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from acdc_seg.data.phantom.body import Body, Signals, draw_signals
from acdc_seg.data.phantom.heart import Heart
from acdc_seg.data.phantom.scanner import Geometry, HeartGrid, Scanner, paint_mask
from acdc_seg.data.record import ProgressCallback, no_progress
from acdc_seg.errors import DataError
from acdc_seg.files import new_folder
from acdc_seg.labels import GROUPS

SLICE_DISTANCES = (6.5, 8.0, 10.0)
MIN_SLICES, MAX_SLICES = 6, 14
CYCLE_SECONDS = 0.9
"""One heartbeat: the time axis of cine files."""


def synthesize(
    out: Path,
    *,
    num_patients: int = 40,
    num_test_patients: int = 10,
    seed: int = 0,
    first: int = 1,
    cine: bool = False,
    on_progress: ProgressCallback = no_progress,
) -> list[Path]:
    """Writes a synthetic ACDC tree and returns the patients' folders.

    Args:
        out: Folder to make, complete or not at all, with `training/` and `testing/` inside; it must
            not exist, or be empty.
        num_patients: Training patients; the groups take equal turns.
        num_test_patients: Testing patients; their numbers continue.
        seed: Same seed, same files, byte for byte.
        first: Number of the first patient, for names alone: 201 names the same hearts patient201
            and so on, to lie beside the patients of another tree.
        cine: Also writes `patientNNN_4d.nii.gz` with all frames of the heart's cycle.
        on_progress: Called after each patient.

    Raises:
        DataError: `out` holds files already or cannot be written, or a number is out of range.
    """
    total = num_patients + num_test_patients
    if min(num_patients, num_test_patients, seed, first) < 0 or total == 0:
        raise DataError(
            f"num_patients={num_patients}, num_test_patients={num_test_patients}, seed={seed}, "
            f"first={first}: none may be negative, and at least one patient is needed"
        )
    folders = [
        Path("training" if index < num_patients else "testing") / f"patient{first + index:03d}"
        for index in range(total)
    ]
    with new_folder(out) as tree:
        for number, folder in enumerate(folders, start=1):
            study = Study(number, seed=seed, group=GROUPS[(number - 1) % len(GROUPS)])
            _write_patient(tree / folder, study, cine=cine)
            on_progress("phantom patients", number, total)
    return [out / folder for folder in folders]


class Study:
    """One examination of one patient: any frame of the heart's cycle on demand.

    `info` is what Info.cfg says; `ed` and `es` are the numbers of these frames.
    """

    def __init__(self, number: int, *, seed: int, group: str) -> None:
        self.number, self.seed = number, seed
        rng = np.random.default_rng([seed, number])
        self.num_frames = int(rng.integers(12, 36))
        self.ed = 1 if rng.random() < 0.9 else int(rng.integers(2, 5))
        self.es = self.ed + round(rng.uniform(0.33, 0.42) * self.num_frames)
        self.info = {
            "ED": str(self.ed),
            "ES": str(self.es),
            "Group": group,
            "Height": f"{rng.normal(171, 9):.1f}",
            "NbFrame": str(self.num_frames),
            "Weight": f"{max(rng.normal(76, 13), 45):.1f}",
        }
        self.heart = Heart(group, rng)
        self.geometry = _draw_geometry(self.heart, rng)
        depths = self.geometry.depths
        relaxed, contracted = (self.heart.contours(depths, phase) for phase in (0.0, 1.0))
        reach = float(max(relaxed.fat.max(), contracted.fat.max())) + 4
        self.grid = HeartGrid(self.geometry, reach=reach)
        signals = draw_signals(rng)
        body = _draw_body(signals, self.geometry, self.heart, float(relaxed.wall.max()), rng)
        self.scanner = Scanner(body, signals, self.geometry, rng)

    def frame(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask `(X, Y, Z)` of a frame, counted from 1."""
        tissues = self.grid.tissues(self.heart.contours(self.grid.depths, self._phase(number)))
        rng = np.random.default_rng([self.seed, self.number, number])
        image = self.scanner.image(tissues, self.grid.box, rng)
        mask = paint_mask(tissues, image.shape, self.grid.box)
        return image.transpose(1, 2, 0), mask.transpose(1, 2, 0)  # (Z, X, Y) -> (X, Y, Z)

    def _phase(self, number: int) -> float:
        """0 at end-diastole, 1 at end-systole, cosines between them."""
        time = (number - self.ed) % self.num_frames
        systole = self.es - self.ed
        if time <= systole:
            return 0.5 - 0.5 * np.cos(np.pi * time / systole)
        return 0.5 + 0.5 * np.cos(np.pi * ((time - systole) / (self.num_frames - systole)) ** 0.8)


def _draw_geometry(heart: Heart, rng: np.random.Generator) -> Geometry:
    """Matrix, spacing and pose as in ACDC; the base is the first slice or just below."""
    fine = rng.random() < 0.03
    pixel = rng.uniform(0.7, 1.2) if fine else np.clip(rng.normal(1.52, 0.14), 1.3, 1.95)
    pixel = round(float(pixel), 4)
    long = int(np.clip(rng.uniform(320, 390) / pixel, 200, 428)) // 2 * 2
    short = int(np.clip(long * rng.uniform(0.72, 1), 154, 428)) // 2 * 2
    matrix = (short, long) if rng.random() < 0.8 else (long, short)
    depths = _draw_depths(heart, rng)
    body_angle = rng.normal(0, 0.2)
    tilt = rng.normal((-0.12, 0.05), 0.13)  # mm across per mm of depth
    middle = np.array(matrix) * pixel * rng.uniform((0.41, 0.46), (0.5, 0.57))
    centers = middle + (depths[:, None] - heart.length / 2) * tilt
    centers = centers + rng.normal(0, 0.9, (len(depths), 2))  # breath-holds differ
    heart_angle = np.pi + body_angle - rng.uniform(-0.2, 0.8)
    spacing = (pixel, pixel, float(depths[1] - depths[0]))
    return Geometry(matrix, spacing, depths, centers, body_angle, heart_angle)


def _draw_depths(heart: Heart, rng: np.random.Generator) -> np.ndarray:
    """Depths of 6 to 14 slices in mm that cover the heart, 6.5 to 10 mm apart."""
    distance, first = rng.choice(SLICE_DISTANCES, p=(0.1, 0.1, 0.8)), rng.uniform(-1.0, 0.4)
    covered = heart.length + 0.8 * heart.wall + rng.uniform(-8, 10)
    if covered / distance - first > MAX_SLICES:
        distance = max(SLICE_DISTANCES)
    count = int(np.clip(np.ceil(covered / distance - first), MIN_SLICES, MAX_SLICES))
    return np.asarray((np.arange(count) + first) * distance)


def _draw_body(
    signals: Signals, geometry: Geometry, heart: Heart, front: float, rng: np.random.Generator
) -> np.ndarray:
    """The scene around the heart `(Z, X, Y)`, in the body's own axes."""
    pixel, middle = geometry.spacing[0], geometry.centers.mean(axis=0)
    x = (np.arange(geometry.matrix[0]) * pixel - middle[0])[:, None]
    y = (np.arange(geometry.matrix[1]) * pixel - middle[1])[None, :]
    cosine, sine = np.cos(geometry.body_angle), np.sin(geometry.body_angle)
    u, v = x * cosine + y * sine, y * cosine - x * sine  # (X, Y)
    t = np.clip(geometry.depths / heart.length, 0, 1)
    return Body(signals, u, v, t, pixel=pixel, front=front).paint(rng)


def _write_patient(folder: Path, study: Study, *, cine: bool) -> None:
    folder.mkdir(parents=True)
    info = "".join(f"{key}: {value}\n" for key, value in study.info.items())
    (folder / "Info.cfg").write_text(info, encoding="ascii")
    spacing = study.geometry.spacing
    for number in (study.ed, study.es):
        image, mask = study.frame(number)
        stem = f"{folder.name}_frame{number:02d}"
        _write_nifti(folder / f"{stem}.nii.gz", image, spacing)
        _write_nifti(folder / f"{stem}_gt.nii.gz", mask, spacing)
    if cine:
        images = [study.frame(number)[0] for number in range(1, study.num_frames + 1)]
        spacing_and_time = (*spacing, CYCLE_SECONDS / study.num_frames)
        _write_nifti(
            folder / f"{folder.name}_4d.nii.gz", np.stack(images, axis=-1), spacing_and_time
        )


def _write_nifti(path: Path, volume: np.ndarray, spacing: tuple[float, ...]) -> None:
    """Writes `(X, Y, Z)` or `(X, Y, Z, frames)`, without a time stamp."""
    image = nib.Nifti1Image(volume, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms(spacing)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
