"""3-D Dice of volumes by where the network looks: around the heart that it found itself, around the
true one, in windows all over the slice, and on whole slices at once.

    python scripts/compare_windows.py RUN PATIENTS    # ACDC patients that RUN was not trained on
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc_seg.data.exams import ExamImages, find_exams
from acdc_seg.data.nifti import open_nifti
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.volumes import VolumePredictor

Center = tuple[float, float]


def main() -> None:
    """Prints the mean Dice of RV, myocardium and LV over all volumes, for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("patients", type=Path, help="ACDC tree")
    options = parser.parse_args()
    exams = [exam.read() for exam in find_exams([options.patients])]
    masks = [read_masks(exam) for exam in exams]
    for way in ("found", "true", "all over", "whole slices"):
        predictor = make_predictor(options.run, way)
        scores = []
        for exam, truth in zip(exams, masks, strict=True):
            center = true_center(truth, exam.spacing) if way == "true" else None
            if way == "found":
                center = predictor.locate(exam.frame(0), exam.spacing)
            for index, mask in enumerate(truth):
                labels = predictor(exam.frame(index), exam.spacing, center=center).labels
                scores.append([dice(labels == value, mask == value) for value in (1, 2, 3)])
        by_class = " ".join(f"{value:.4f}" for value in np.mean(scores, axis=0))
        print(f"{way:12} {np.mean(scores):.4f}  {by_class}", flush=True)


def make_predictor(run: Path, way: str) -> VolumePredictor:
    """A predictor of windows, or of whole slices."""
    model = load_predictor(run)
    predictor = VolumePredictor(model)
    if way == "whole slices":
        model.change_data({"size": None, "fit": "pad"})
    return predictor


def read_masks(exam: ExamImages) -> list[np.ndarray]:
    """The true masks `(X, Y, Z)` of an exam's files, beside them."""
    masks = []
    for file in exam.files:
        path = file.path.with_name(file.path.name.replace(".nii", "_gt.nii"))
        masks.append(replace(open_nifti(path), orientation=file.orientation).voxels())
    return masks


def true_center(masks: Sequence[np.ndarray], spacing: Sequence[float]) -> Center:
    """Middle in mm of the box around all masks."""
    places = np.argwhere(np.any([mask > 0 for mask in masks], axis=(0, 3)))
    x, y = (places.min(axis=0) + places.max(axis=0) + 1) / 2 * np.array(spacing[:2])
    return float(x), float(y)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Of two structures, of which one at least is not empty."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


if __name__ == "__main__":
    main()
