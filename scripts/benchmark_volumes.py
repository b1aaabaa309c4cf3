"""Seconds and memory of segmenting a cine, against a plain loop over its slices, in one run.

    python scripts/benchmark_volumes.py [--model RUN] [--rounds 3] [--json]

The cine is a synthetic heart on 256 x 256 pixels, 10 slices, 30 frames. The plain loop is what one
writes first: float32, a slice at a time, resized, normalized, predicted, and labels resized back.
Both load the model before the clock starts. Peak memory is of a process of its own per way.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import torch

from acdc_seg.data.exams import find_exams
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.inference.shipped import find_model
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.prediction.case import Outputs, predict_case

SIZE, NUM_SLICES, NUM_FRAMES = 256, 10, 30


def main() -> None:
    """Prints seconds pair by pair, their median ratio, and the peak memory of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="run folder or checkpoint, default the package's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print a JSON line at the end")
    parser.add_argument("--only", choices=["plain", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--cine", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = find_model(options.model)
    if options.only:
        run_once(options.only, options.cine, model)
        return
    with tempfile.TemporaryDirectory() as scratch:
        cine = write_cine(Path(scratch))
        results = compare(cine, model, options.rounds)
    print(
        f"{SIZE} x {SIZE} pixels, {NUM_SLICES} slices, {NUM_FRAMES} frames, "
        f"{torch.get_num_threads()} threads"
    )
    for plain, ours in results["pairs"]:
        print(f"plain loop {plain:6.1f} s   acdc-predict {ours:6.1f} s   {plain / ours:.2f} times")
    print(f"median {results['seconds']:.1f} s, {results['ratio']:.2f} times the plain loop's speed")
    print(f"peak memory: plain {results['plain_mb']} MB, acdc-predict {results['ours_mb']} MB")
    if options.json:
        print(json.dumps(results))


def write_cine(folder: Path) -> Path:
    """A phantom's heart beat, brought to the size of the benchmark."""
    synthesize(folder / "tree", num_patients=1, num_test_patients=0, cine=True)
    image = nib.load(folder / "tree/training/patient001/patient001_4d.nii.gz")
    voxels = np.asarray(image.dataobj)
    places = [
        np.arange(count) % length
        for count, length in zip((NUM_SLICES, NUM_FRAMES), voxels.shape[2:], strict=True)
    ]
    voxels = voxels[:, :, places[0]][..., places[1]]
    resized = np.zeros((SIZE, SIZE, NUM_SLICES, NUM_FRAMES), voxels.dtype)
    part = voxels[:SIZE, :SIZE]
    resized[: part.shape[0], : part.shape[1]] = part
    path = folder / "cine.nii.gz"
    nib.save(nib.Nifti1Image(resized, image.affine, image.header), path)
    return path


def compare(cine: Path, model: Path, rounds: int) -> dict:
    """Runs both ways in turn, each time in a process of its own."""
    runs: dict[str, list[dict]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        for way, found in runs.items():
            command = [sys.executable, __file__, "--only", way, "--cine", cine, "--model", model]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(output.splitlines()[-1]))
    pairs = [
        (plain["seconds"], ours["seconds"])
        for plain, ours in zip(runs["plain"], runs["ours"], strict=True)
    ]
    return {
        "pairs": pairs,
        "seconds": statistics.median(ours for _, ours in pairs),
        "ratio": statistics.median(plain / ours for plain, ours in pairs),
        "plain_mb": max(run["mb"] for run in runs["plain"]),
        "ours_mb": max(run["mb"] for run in runs["ours"]),
    }


def run_once(way: str, cine: Path, model: Path) -> None:
    """One way, timed after the model is loaded; prints a JSON line."""
    precision = "fp32" if way == "plain" else "auto"
    predictor = load_predictor(model, precision=precision)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        if way == "plain":
            segment_plainly(cine, predictor)
        else:
            (exam,) = find_exams([cine])
            volumes = VolumePredictor(predictor)
            predict_case(exam, volumes, Path(scratch), outputs=Outputs())
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": round(seconds, 2), "mb": peak}))


def segment_plainly(cine: Path, predictor: ModelPredictor) -> np.ndarray:
    """Labels of all frames by the loop that one writes first."""
    image = nib.load(cine)
    voxels, spacing = image.get_fdata(dtype=np.float32), image.header.get_zooms()[0]
    labels = np.zeros(voxels.shape, np.uint8)
    edge = round(SIZE * float(spacing) / (predictor.config.prepare.spacing or float(spacing)))
    edge = -(-edge // 16) * 16
    model = predictor.model.to(memory_format=torch.contiguous_format).eval()
    with torch.no_grad():
        for frame in range(voxels.shape[3]):
            for place in range(voxels.shape[2]):
                pixels = cv2.resize(voxels[:, :, place, frame], (edge, edge))
                pixels = (pixels - pixels.mean()) / (pixels.std() + 1e-6)
                output = model(torch.from_numpy(pixels)[None, None])
                found = output.softmax(1).argmax(1)[0].numpy().astype(np.uint8)
                labels[:, :, place, frame] = cv2.resize(
                    found, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST
                )
    return labels


if __name__ == "__main__":
    main()
