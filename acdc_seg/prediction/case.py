"""One exam: label maps on its own grid, measurements, and a picture."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg import __version__
from acdc_seg.data.exams import Exam, ExamImages
from acdc_seg.data.nifti import write_labels
from acdc_seg.errors import DataError
from acdc_seg.files import cached_sha256, sha256_bytes, write_json
from acdc_seg.inference.volumes import Segmentation, VolumePredictor
from acdc_seg.metrics.clinical import Measurements, measure_heart
from acdc_seg.metrics.quality import check_quality
from acdc_seg.metrics.wall import measure_wall
from acdc_seg.prediction.pictures import write_picture

CASES = "cases"
"""Folder of the output with a JSON file and a picture per exam."""

FrameCallback = Callable[[int, int], None]
"""Called with the frames of an exam that are done and all of them."""


@dataclass(frozen=True)
class Outputs:
    """What is written beside label maps and measurements: maps of probabilities and uncertainty, at
    ED and ES of a cine, and DICOM-SEG files for DICOM series.
    """

    probabilities: bool = False
    uncertainty: bool = False
    dicom_seg: bool = False


def predict_case(
    exam: Exam,
    predictor: VolumePredictor,
    out: Path,
    *,
    outputs: Outputs,
    on_frame: FrameCallback = lambda done, total: None,
) -> dict[str, Any]:
    """Writes the label maps of an exam below `out` and returns, and writes to cases/NAME.json, what
    was measured.

    One frame is in memory at a time, beside the labels of all.

    Raises:
        DataError: A file that cannot be read or written.
    """
    start = time.monotonic()
    digest = case_digest(exam, predictor, outputs)
    images = exam.read()
    center = predictor.locate(images.frame(images.phases.get("ED", 0)), images.spacing)
    frames = []
    for index in range(images.num_frames):
        frames.append(predictor(images.frame(index), images.spacing, center=center).labels)
        on_frame(index + 1, images.num_frames)
    labels = np.stack(frames, axis=-1)  # (X, Y, Z, T)
    measured = _measure(labels, images)
    written = write_label_maps(labels, images, exam.id, out)
    places = {"ED": measured.ed, "ES": measured.es}
    if images.num_frames == 1:
        places = {"": 0}
    phases = {phase: place for phase, place in places.items() if place is not None}
    if outputs.probabilities or outputs.uncertainty:
        written += _write_maps(exam.id, images, phases, center, predictor, out, outputs)
    if outputs.dicom_seg:
        written += _write_dicom_seg(exam, labels, images, phases, predictor, out)
    picture = write_picture(
        out / CASES / f"{exam.id}.jpg",
        {phase: (images.frame(place), labels[..., place]) for phase, place in phases.items()},
        images.spacing,
    )
    case = {
        "id": exam.id,
        "digest": digest,
        "status": "done",
        "inputs": [str(path) for path in exam.paths[:3]],
        "files": [path.name for path in written],
        "picture": picture.name,
        "size": list(labels.shape[:3]),
        "spacing": list(images.spacing),
        "num_frames": images.num_frames,
        "frame_seconds": images.files[0].frame_seconds,
        "phases_given": sorted(images.phases),
        "group": images.group,
        "findings": list(images.findings),
        "failed_rules": check_quality(labels, images.spacing, measured),
        "measurements": measured.to_dict(),
        "wall": _wall(labels, images, measured),
        "diagnosis": _diagnose(labels, images, measured),
        "model": describe_model(predictor),
        "seconds": round(time.monotonic() - start, 2),
        "acdc_seg": __version__,
    }
    write_json(out / CASES / f"{exam.id}.json", case)
    return case


def case_digest(exam: Exam, predictor: VolumePredictor, outputs: Outputs) -> str:
    """SHA-256 of all that an exam's results depend on: its files, the model, and the settings.

    Raises:
        DataError: A file cannot be read.
    """
    parts = [cached_sha256(path) for path in exam.paths]
    parts += [exam.id, str(describe_model(predictor)), str(asdict(outputs)), __version__]
    return sha256_bytes("\n".join(parts).encode())


def describe_model(predictor: VolumePredictor) -> dict[str, Any]:
    """Members by their checksums, test-time augmentation, and post-processing."""
    about = predictor.predictor.describe()
    members = [
        {key: member[key] for key in ("sha256", "weight", "tta")} for member in about["members"]
    ]
    return {
        "members": members,
        "tta": about["tta"],
        "keep_largest": predictor.keep_largest,
        "spacing": predictor.settings.spacing,
    }


def write_label_maps(labels: np.ndarray, images: ExamImages, name: str, out: Path) -> list[Path]:
    """NAME_seg.nii.gz of every file of an exam, on its grid; returns the paths."""
    written, start = [], 0
    for file, own_name in zip(images.files, images.names, strict=True):
        stem = name if len(images.files) == 1 else own_name
        part = labels[..., start : start + file.num_frames]
        start += file.num_frames
        is_cine = len(file.image.shape) > 3
        path = out / f"{stem}_seg.nii.gz"
        write_labels(path, part if is_cine else part[..., 0], file)
        written.append(path)
    return written


def _measure(labels: np.ndarray, images: ExamImages) -> Measurements:
    return measure_heart(
        labels,
        images.spacing,
        ed=images.phases.get("ED"),
        es=images.phases.get("ES"),
        heart_rate=images.heart_rate,
        height_cm=images.height_cm,
        weight_kg=images.weight_kg,
    )


def _wall(
    labels: np.ndarray, images: ExamImages, measured: Measurements
) -> dict[str, float | None] | None:
    """Wall thickness at ED, where that is known."""
    if measured.ed is None:
        return None
    affine = images.files[0].affine
    return measure_wall(labels[..., measured.ed], images.spacing, affine=affine).to_dict()


def _diagnose(
    labels: np.ndarray, images: ExamImages, measured: Measurements
) -> dict[str, Any] | None:
    """The most probable of ACDC's groups; None where a structure or a phase is missing, or
    scikit-learn.
    """
    if measured.ed is None or measured.es is None:
        return None
    from acdc_seg.diagnosis.features import features

    try:
        from acdc_seg.diagnosis.classify import diagnose

        values = features(
            labels[..., measured.ed],
            labels[..., measured.es],
            images.spacing,
            height_cm=images.height_cm,
            weight_kg=images.weight_kg,
        )
        return diagnose(values).to_dict()
    except DataError:
        return None
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != "sklearn":
            raise
        return None  # the page says that scikit-learn is not installed


def _write_maps(
    name: str,
    images: ExamImages,
    phases: Mapping[str, int],
    center: tuple[float, float] | None,
    predictor: VolumePredictor,
    out: Path,
    outputs: Outputs,
) -> list[Path]:
    """Probabilities `(X, Y, Z, K)` and uncertainty `(X, Y, Z)` of one or two frames."""
    written = []
    for phase, place in phases.items():
        stem = "_".join(filter(None, (name, phase)))
        result = predictor(
            images.frame(place),
            images.spacing,
            center=center,
            probabilities=outputs.probabilities,
            uncertainty=outputs.uncertainty,
        )
        for kind, array in _maps(result).items():
            path = out / f"{stem}_{kind}.nii.gz"
            write_labels(path, array, images.files[0])
            written.append(path)
    return written


def _maps(result: Segmentation) -> dict[str, np.ndarray]:
    maps = {}
    if result.probabilities is not None:
        maps["probabilities"] = result.probabilities.transpose(1, 2, 3, 0)
    if result.uncertainty is not None:
        maps["uncertainty"] = result.uncertainty
    return maps


def _write_dicom_seg(
    exam: Exam,
    labels: np.ndarray,
    images: ExamImages,
    phases: Mapping[str, int],
    predictor: VolumePredictor,
    out: Path,
) -> list[Path]:
    """NAME_ED_seg.dcm and NAME_ES_seg.dcm of a DICOM series; all frames where neither is known."""
    from acdc_seg.inference.dicom_seg import write_dicom_seg

    if images.dicom is None:
        raise DataError(f"{exam.id}: --dicom-seg is for DICOM series; leave it out for NIfTI files")
    member = describe_model(predictor)["members"][0]
    return write_dicom_seg(
        images.files[0].orientation.undo(labels),
        images.dicom,
        out,
        name=exam.id,
        model=member["sha256"][:16],
        phases=phases if "" not in phases else None,
    )
