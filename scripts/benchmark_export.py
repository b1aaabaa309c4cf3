"""Rates of PyTorch in fp32 and bf16, and of ONNX files in fp32 and int8, in one run.

    python scripts/benchmark_export.py [--models unet enet] [--rounds 5] [--json]

Batches of gray images, from pixels to probabilities; the four ways take turns, so that other work
on the machine slows all of them. Networks have the options of their recipes and fresh weights.
What is reported is the median processor time of an image on one thread: a clock would count other
programs too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from acdc_seg.config import load_config
from acdc_seg.export.graph import export_onnx
from acdc_seg.export.quantize import DYNAMIC, quantize_onnx
from acdc_seg.inference.onnx import OnnxPredictor
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.models import MODELS, build_model

WAYS = ("PyTorch fp32", "PyTorch bf16", "ONNX fp32", "ONNX int8")
NUM_CLASSES = 4


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["unet", "enet"], choices=list(MODELS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print a JSON line at the end")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = (options.batch, 1, options.size, options.size)
    images = np.random.default_rng(0).random(shape, np.float32)
    print(f"| ms an image | {' | '.join(WAYS)} | int8 to bf16 | int8 to ONNX fp32 |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    results = {}
    for name in options.models:
        results[name] = row = measure(name, images, options.rounds)
        ratios = [row[way] / row["ONNX int8"] for way in ("PyTorch bf16", "ONNX fp32")]
        cells = [f"{row[way]:.1f}" for way in WAYS] + [f"{ratio:.2f}" for ratio in ratios]
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
    if options.json:
        print(json.dumps(results))


def measure(name: str, images: np.ndarray, rounds: int) -> dict[str, float]:
    """Milliseconds an image, by way."""
    with tempfile.TemporaryDirectory() as folder:
        ways = make_ways(name, images, Path(folder))
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds + 1):
            for way, predict in ways.items():
                start = time.process_time()
                predict()
                if number:  # the first round allocates and compiles
                    seconds[way].append(time.process_time() - start)
    return {way: 1000 * statistics.median(values) / len(images) for way, values in seconds.items()}


def make_ways(name: str, images: np.ndarray, folder: Path) -> dict[str, Callable[[], object]]:
    """The four predictors as calls without arguments."""
    batch = torch.from_numpy(images)
    size = (images.shape[2], images.shape[3])
    ways: dict[str, Callable[[], object]] = {}
    for precision in ("fp32", "bf16"):
        predictor = make_predictor(name, precision)
        ways[f"PyTorch {precision}"] = lambda predictor=predictor: predictor.predict_batch(batch)
    files = folder / "fp32.onnx", folder / "int8.onnx"
    export_onnx(make_predictor(name, "fp32"), files[0], size=size if name == "swin_unet" else None)
    quantize_onnx(files[0], files[1], [images[:1], images[1:2]], is_dynamic=name in DYNAMIC)
    for path, kind in zip(files, ("fp32", "int8"), strict=True):
        session = OnnxPredictor(path, num_threads=1, device="cpu")
        ways[f"ONNX {kind}"] = lambda session=session: session.predict_arrays(images)
    return ways


def make_predictor(name: str, precision: str) -> ModelPredictor:
    """A network with fresh weights, at the size of the images."""
    torch.manual_seed(0)
    config = load_config(model=name)
    config = config.model_copy(update={"data": config.data.model_copy(update={"size": None})})
    network = build_model(config.model, config.data.channels, NUM_CLASSES)
    return ModelPredictor(network, config, device=torch.device("cpu"), precision=precision)


if __name__ == "__main__":
    main()
