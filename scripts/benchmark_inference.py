#!/usr/bin/env python
"""Predicted slices per second, against a plain fp32 loop over the files, in one run.

    python scripts/benchmark_inference.py [--model unet] [--models fcn8s segnet unet deeplab_drn
        effunet] [--data DIR] [--slices 64] [--pairs 3] [--json]

The plain loop is fp32, NCHW and a slice at a time: read, normalize, network, softmax, labels; of
several models, the mean of their probabilities. The other way is what the commands run: the same
files through `predict_examples`. Both take turns. Test-time augmentation is compared with one model
without it. Weights are fresh ones, which are as fast as trained ones. Start-up is the time of a new
process. For a 4-D cine see scripts/benchmark_volumes.py.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the commands do, before PyTorch is loaded

import cv2
import numpy as np
import torch
from torch import nn

from acdc_seg.config import Config, load_config
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.data.record import Record
from acdc_seg.data.source import open_source
from acdc_seg.inference.predictors import TTA, Ensemble, ModelPredictor, Predictor
from acdc_seg.inference.stream import predict_examples, read_examples, to_labels
from acdc_seg.models import build_model
from acdc_seg.runtime.device import resolve_device, resolve_precision

FIVE = ("fcn8s", "segnet", "unet", "deeplab_drn", "effunet")
"""The networks of the reference study."""
MAIN = "from acdc_seg.cli.{} import main; main()"
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "acdc-predict --help": ["-c", MAIN.format("predict"), "--help"],
    "load the shipped model": [
        "-c",
        "from acdc_seg.inference.load import load_predictor\n"
        "from acdc_seg.inference.shipped import find_model\n"
        "load_predictor(find_model(None))",
    ],
}


def main() -> None:
    """Prints the rates pair by pair, and their medians."""
    options = parse_options()
    one = load_config(model=options.model)
    five = [load_config(model=name) for name in options.models]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ACDC_WORK_DIR"] = scratch
        records = find_slices(options.data, Path(scratch) / "phantom", options.slices)
        results = compare(one, five, records, pairs=options.pairs, say=print)
    results["startup"] = {name: startup_seconds(command) for name, command in COMMANDS.items()}
    print_results(results, options)
    if options.json:
        print(json.dumps(results))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="unet", help="the one model")
    parser.add_argument("--models", nargs="+", default=FIVE, help="those of the ensemble")
    parser.add_argument("--data", type=Path, help="gray images, default a phantom's slices")
    parser.add_argument("--slices", type=int, default=64, help="at most so many")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print a JSON line at the end")
    return parser.parse_args()


def find_slices(data: Path | None, phantom: Path, count: int) -> list[Record]:
    """The first slices of the data, or of a phantom that is written."""
    if data is None:
        synthesize(phantom, num_patients=5, num_test_patients=0)
    config = load_config(overrides=[f"data.path={data or phantom}"])
    source = open_source(config.data, prepare_settings=config.prepare, classes=config.classes)
    return list(source.records[:count])


def compare(
    one: Config,
    several: Sequence[Config],
    records: Sequence[Record],
    *,
    pairs: int,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Slices per second by way: of the plain loop, ours, and their ratio.

    Args:
        one: Settings of the one model.
        several: Those of the members of an ensemble.
        records: Images of one size.
        pairs: Number of turns.
        say: Called with a line for every measurement.
    """
    members = [make_pair(config) for config in (one, *several)]
    networks = [network for network, _ in members]
    model, *others = (predictor for _, predictor in members)
    ways: dict[str, tuple[Predictor, list[nn.Module]]] = {
        "one model": (model, networks[:1]),
        "ensemble": (Ensemble(others), networks[1:]),
        "flips": (TTA(model, views="flips"), networks[:1]),
        "dihedral": (TTA(model, views="dihedral"), networks[:1]),
    }
    rates: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(pairs + 1):
        for name, (predictor, plain) in ways.items():
            pair = {
                "plain": rate(lambda plain=plain: plain_labels(plain, records)),
                "ours": rate(lambda predictor=predictor: our_labels(predictor, records)),
            }
            pair["ratio"] = pair["ours"] / pair["plain"]
            if number:  # the first turn warms up
                rates[name].append(pair)
                say(f"  {name}: plain {pair['plain']:.1f}, ours {pair['ours']:.1f} slices/s")
    medians = {
        name: {key: statistics.median(pair[key] for pair in found) for key in found[0]}
        for name, found in rates.items()
    }
    return {**medians, "precision": model.precision, "threads": torch.get_num_threads()}


def make_pair(config: Config) -> tuple[nn.Module, ModelPredictor]:
    """A network in fp32 and NCHW, and a predictor of equal weights."""
    network = build_model(config.model, config.data.channels, len(config.classes.names)).eval()
    device = resolve_device(config.train.device)
    precision = resolve_precision(config.train.precision, device)
    predictor = ModelPredictor(copy.deepcopy(network), config, device=device, precision=precision)
    return network.to(device), predictor


def rate(predict: Callable[[], list[np.ndarray]]) -> float:
    """Slices per second."""
    start = time.perf_counter()
    count = len(predict())
    return count / (time.perf_counter() - start)


@torch.no_grad()
def plain_labels(networks: Sequence[nn.Module], records: Sequence[Record]) -> list[np.ndarray]:
    """Labels uint8 `(H, W)` of every slice, by the loop that one writes first."""
    labels = []
    device = next(networks[0].parameters()).device
    for record in records:
        image = cv2.imread(str(record.image), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        image = (image - image.mean()) / max(image.std(), 1e-6)
        batch = torch.from_numpy(image)[None, None].to(device)
        outputs = [network(batch).softmax(1) for network in networks]
        mean = torch.stack(outputs).mean(0)
        labels.append(mean.argmax(1)[0].to(torch.uint8).cpu().numpy())
    return labels


def our_labels(predictor: Predictor, records: Sequence[Record]) -> list[np.ndarray]:
    """The same, as the commands predict."""
    examples = read_examples(records, predictor, with_masks=False)
    return [to_labels(probabilities) for _, probabilities in predict_examples(predictor, examples)]


def startup_seconds(command: Sequence[str], *, times: int = 3) -> float:
    """Least time of a new Python process with these arguments."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def print_results(results: dict[str, Any], options: argparse.Namespace) -> None:
    print(f"{results['precision']}, {results['threads']} threads, {options.slices} slices")
    for name in ("one model", "ensemble", "flips", "dihedral"):
        row = results[name]
        which = " + ".join(options.models) if name == "ensemble" else options.model
        print(
            f"{name} ({which}): {row['ours']:.1f} slices/s, {row['ratio']:.2f} times the plain "
            f"loop's {row['plain']:.1f}" + (", which has none" if name in TTA_NAMES else "")
        )
    for name, seconds in results["startup"].items():
        print(f"{name}: {seconds:.2f} s")


TTA_NAMES = ("flips", "dihedral")

if __name__ == "__main__":
    main()
