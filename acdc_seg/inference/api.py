"""predict_volume: an array or a file in, its label map out."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from acdc_seg.data.exams import ExamImages, find_exams
from acdc_seg.data.orientation import check_positive, find_orientation
from acdc_seg.errors import DataError
from acdc_seg.inference.shipped import find_model
from acdc_seg.inference.volumes import VolumePredictor


def predict_volume(
    image: np.ndarray | str | Path,
    *,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    model: str | Path | None = None,
    keep_largest: bool = True,
    device: str = "auto",
) -> np.ndarray:
    """Segments a volume or a cine of a heart in short-axis slices.

    Args:
        image: Grey values `(X, Y, Z)` or `(X, Y, Z, T)`; or a NIfTI file, or a folder of one DICOM
            series, that hold them.
        spacing: Voxel size (x, y, z) in mm of an array. Slices are along its third axis.
        affine: Of an array, in place of `spacing`: voxel indices to mm, RAS+, `(4, 4)`. Slices are
            along the axis of the largest voxels, and turned as the model knows them.
        model: Run folder, checkpoint, ensemble, ONNX file of `acdc-export --volumes`, or name of a
            model of the package; None takes `shipped.DEFAULT`.
        keep_largest: Leave the largest connected region of every class.
        device: auto, cpu, cuda or mps.

    Returns:
        Labels uint8 of the image's shape, on its grid: 0 background, 1 RV, 2 myocardium, 3 LV, or
        the values of the model's classes.

    Raises:
        DataError: A file that cannot be read, an array of another shape, or without spacing.
        ConfigError: There is no such model.
    """
    predictor = _load(str(find_model(model)), keep_largest, device)
    if isinstance(image, str | Path):
        return _predict_file(Path(image), predictor)
    voxels = np.asarray(image)
    _check_array(voxels)
    if affine is not None:
        sizes = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0).tolist()
        check_positive(sizes)
        return predict_array(voxels, np.asarray(affine, float), sizes, predictor)
    if spacing is None or len(spacing) != 3:
        raise DataError(f"spacing {spacing}: give the voxel size (x, y, z) in mm, or the affine")
    check_positive(spacing)
    return _predict_array(voxels, spacing, predictor)


def predict_array(
    voxels: np.ndarray, affine: np.ndarray, sizes: Sequence[float], predictor: VolumePredictor
) -> np.ndarray:
    """Labels uint8 of an array in the axes of its file.

    Args:
        voxels: `(I, J, K)` or `(I, J, K, T)`.
        affine: Voxel indices to mm, RAS+, `(4, 4)`, for the directions of the axes.
        sizes: Voxel size of the three axes in mm, see `find_spacing`.
        predictor: The model.

    Raises:
        DataError: Another shape, NaN or infinity.
    """
    _check_array(voxels)
    orientation = find_orientation(affine, sizes, voxels.shape)
    labels = _predict_array(orientation.apply(voxels), orientation.reorder(sizes), predictor)
    return np.ascontiguousarray(orientation.undo(labels))


def _check_array(voxels: np.ndarray) -> None:
    if voxels.ndim not in (3, 4) or not voxels.size:
        raise DataError(f"an image of shape {voxels.shape}, expected (X, Y, Z) or (X, Y, Z, T)")
    if not np.isfinite(voxels).all():
        raise DataError("the image holds NaN or infinity; replace them before prediction")


@lru_cache(maxsize=2)
def _load(path: str, keep_largest: bool, device: str) -> VolumePredictor:
    """Kept, so that volume after volume is segmented without reading the model again."""
    if path.endswith(".onnx"):
        from acdc_seg.inference.onnx import OnnxPredictor

        return VolumePredictor(OnnxPredictor(Path(path), device=device), keep_largest=keep_largest)
    from acdc_seg.inference.load import load_predictor

    return VolumePredictor(load_predictor(path, device=device), keep_largest=keep_largest)


def _predict_array(
    voxels: np.ndarray, spacing: Sequence[float], predictor: VolumePredictor
) -> np.ndarray:
    frames = np.moveaxis(voxels, 3, 0) if voxels.ndim == 4 else [voxels]
    labels = _predict_frames(
        (np.asarray(frame, np.float32) for frame in frames), spacing, predictor
    )
    return labels if voxels.ndim == 4 else labels[..., 0]


def _predict_file(path: Path, predictor: VolumePredictor) -> np.ndarray:
    exams = find_exams([path])
    if len(exams) > 1:
        raise DataError(f"{path}: holds {len(exams)} exams; give one, or use acdc-predict")
    images: ExamImages = exams[0].read()
    if len(images.files) > 1:
        raise DataError(f"{path}: holds {len(images.files)} files of one exam; give one of them")
    file = images.files[0]
    frames = (images.frame(index) for index in range(images.num_frames))
    labels = file.orientation.undo(_predict_frames(frames, images.spacing, predictor))
    return np.ascontiguousarray(labels).reshape(file.image.shape)


def _predict_frames(
    frames: Iterable[np.ndarray], spacing: Sequence[float], predictor: VolumePredictor
) -> np.ndarray:
    """Labels `(X, Y, Z, T)` of frames `(X, Y, Z)`; the heart is looked for in the first."""
    labels, center = [], None
    for index, frame in enumerate(frames):
        if index == 0:
            center = predictor.locate(frame, spacing)
        labels.append(predictor(frame, spacing, center=center).labels)
    return np.stack(labels, axis=-1)
