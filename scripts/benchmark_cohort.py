"""Rates of which docs/cohorts.md plans a cohort: CPU time, memory and disk of one study, and of the
table and the page of many.

    python scripts/benchmark_cohort.py [--model RUN] [--dicom SERIES]

CPU time of this process on one thread, which other programs on the machine change little.
"""

import argparse
import json
import pickle
import resource
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from distributed import LocalCluster

from acdc_seg.data.exams import find_exams
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.files import sha256_file
from acdc_seg.inference.shipped import find_model
from acdc_seg.prediction.case import CASES, Outputs
from acdc_seg.prediction.cohort import predict_cohort
from acdc_seg.prediction.model import ModelSettings
from acdc_seg.prediction.page import write_report
from acdc_seg.prediction.run import finish_case
from acdc_seg.prediction.tables import write_measurements

FRAMES = 50
MANY = 50_000
LISTED = 20_000
TASKS = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="run folder or checkpoint, default the package's")
    parser.add_argument("--dicom", type=Path, help="folder of one series, to time the search")
    options = parser.parse_args()
    model = find_model(options.model)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = write_study(folder)
        case = measure_study(study, model, folder / "out")
        measure_search(folder / "many", options.dicom)
        measure_scheduler(folder / "many", model, folder / "failures")
        measure_summary(case, folder / "out")


def write_study(folder: Path) -> Path:
    """A cine of 50 frames: those of the phantom's first patient, again and again."""
    synthesize(folder / "phantom", num_patients=1, num_test_patients=0, cine=True)
    source = nib.load(next((folder / "phantom").rglob("*_4d.nii.gz")))
    frames = np.asarray(source.dataobj)
    frames = frames[..., np.arange(FRAMES) % frames.shape[-1]]
    path = folder / "study.nii.gz"
    nib.save(nib.Nifti1Image(frames, source.affine, source.header), path)
    show(f"study of {frames.shape} voxels of {source.header.get_zooms()[0]:.2f} mm", path)
    return path


def measure_study(study: Path, model: Path, out: Path) -> dict[str, Any]:
    (exam,) = find_exams([study])
    predictor = ModelSettings(model, device="cpu").load()
    start = time.process_time()
    case = finish_case(exam, predictor, out, outputs=Outputs())
    seconds = time.process_time() - start
    assert case["status"] == "done", case
    num_slices = FRAMES * case["size"][2]
    print(f"one study: {seconds:.1f} s, {1000 * seconds / num_slices:.0f} ms per slice")
    print(f"memory of the process: {memory_gb():.2f} GB")
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        show("  wrote", path)
    start = time.process_time()
    sha256_file(study)
    rate = study.stat().st_size / 1e6 / (time.process_time() - start)
    print(f"checksum: {rate:.0f} MB/s")
    return case


def measure_search(folder: Path, series: Path | None) -> None:
    folder.mkdir()
    for number in range(LISTED):
        (folder / f"study{number}.nii.gz").touch()
    start = time.process_time()
    exam = find_exams([folder])[0]
    seconds = time.process_time() - start
    print(f"search: {1e6 * seconds / LISTED:.0f} s per million NIfTI files")
    print(f"  a task of {len(pickle.dumps(exam)):,} bytes")
    if series is None:
        return
    find_exams([series])  # imports
    start = time.process_time()
    (exam,) = find_exams([series])
    seconds = time.process_time() - start
    print(f"  {1e6 * seconds / len(exam.paths):.0f} s per million DICOM files")
    print(f"  a task of {len(pickle.dumps(exam)):,} bytes")
    tracemalloc.start()
    kept = find_exams([series])
    print(f"  {tracemalloc.get_traced_memory()[0] / 1e6:.2f} MB of memory for {len(kept)} exam")
    tracemalloc.stop()


def measure_scheduler(folder: Path, model: Path, out: Path) -> None:
    """Tasks that fail at once, one worker; the scheduler is in this process, as the command is."""
    exams = find_exams([folder])[:TASKS]
    settings = ModelSettings(model, device="cpu")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        predict_cohort(exams[:1], settings, out, address=address, summary=False)
        start = time.process_time()
        predict_cohort(exams, settings, out, address=address, summary=False)
        seconds = time.process_time() - start
    print(f"command and scheduler: {1000 * seconds / TASKS:.1f} ms per task")


def measure_summary(case: dict[str, Any], out: Path) -> None:
    """Table and page of one case many times."""
    text, before = json.dumps(case), memory_gb()
    cases = []
    for number in range(MANY):
        rules = ["no RV"] if number % 10 == 0 else []
        cases.append({**json.loads(text), "id": f"study{number}", "failed_rules": rules})
    print(f"memory of {MANY:,} results: {memory_gb() - before:.2f} GB")
    for name, write in (("table", write_measurements), ("page", write_report)):
        start = time.process_time()
        write(cases, out)
        print(f"{name} of all: {time.process_time() - start:.0f} s, {memory_gb():.2f} GB in all")
    for path in sorted(path for path in out.iterdir() if path.name != CASES and path.is_file()):
        show("  wrote", path)


def memory_gb() -> float:
    """The most that this process has used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def show(what: str, path: Path) -> None:
    print(f"{what} {path.name}: {path.stat().st_size / 1000:,.0f} kB")


if __name__ == "__main__":
    main()
