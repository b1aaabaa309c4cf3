#!/usr/bin/env python
"""Training images per second, against the loop that one writes first, in one run.

    python scripts/benchmark_training.py [--models unet enet] [--data DIR] [--batch-size 32]
        [--pairs 3] [--seconds 30] [--json]

The plain loop is fp32 and NCHW, decodes in the Dataset by two worker processes, repeats gray to
three channels, calls `.item()` in every step, and has Adam and cross-entropy; it does not augment.
The other way is `acdc_seg.training.loop.train` with the recipe of the network, augmentation
included. Both have the same network, files and batch, take turns, and are timed over whole epochs
after their first batch. Layers that are computed in a special way on the CPU (dead taps of dilated
convolutions, depthwise ones) are so in both.

The peak is the best rate of one convolution, of several shapes, in the precision of the training,
measured in every pair. Arithmetic is what PyTorch counts in a step: convolutions and matrix
products, forward and backward.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the commands do, before PyTorch is loaded

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from acdc_seg.config import Config, load_config, with_overrides
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.data.record import Record
from acdc_seg.data.source import Source, open_source
from acdc_seg.models import build_model
from acdc_seg.runtime.device import DTYPES, resolve_device, resolve_precision
from acdc_seg.training import loop

MODELS = ("unet", "deeplab_drn", "fcn8s", "segnet", "effunet", "enet")
PEAK_SHAPES = ((64, 96), (128, 48), (256, 24), (512, 12))
"""Channels, height and width of the maps that 3x3 convolutions are measured on."""
NUM_PATIENTS = 8
"""Of the phantom: about 130 slices to train on."""
PLAIN_WORKERS = 2


@dataclass
class Stopwatch:
    """Times whole epochs, from the first batch of one to the first batch of a later one.

    Attributes:
        seconds: Least time; the epoch in progress is finished.
        waiting: Seconds in which the loop waited for data, so far.
    """

    seconds: float
    waiting: float = 0.0
    batches: int = 0
    is_over: bool = False
    start: float = 0.0
    marks: list[tuple[int, float, float]] = field(default_factory=list)

    def count(self, done: int) -> None:
        """Counts a batch, the `done`-th of its epoch."""
        now = time.perf_counter()
        if done == 1:
            self.start = self.start or now
            self.marks.append((self.batches, now, self.waiting))
            self.is_over = len(self.marks) > 1 and now - self.start >= self.seconds
        self.batches += 1

    def watch(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, and how long each was waited for."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.waiting += time.perf_counter() - asked
            yield batch

    def rates(self) -> tuple[float, float]:
        """Batches per second, and the part of the time that was spent waiting for data."""
        (first, start, waited), (last, end, waiting) = self.marks[0], self.marks[-1]
        return (last - first) / (end - start), (waiting - waited) / (end - start)


class PlainSlices(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Image float32 `(3, H, W)` in 0..1 and mask `(H, W)`, decoded when they are asked for."""

    def __init__(self, records: list[Record], values: tuple[int, ...]) -> None:
        self.records = records
        self.indices = np.zeros(256, np.int64)
        self.indices[list(values)] = np.arange(len(values))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        record = self.records[index]
        image = cv2.imread(str(record.image), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(record.mask), cv2.IMREAD_GRAYSCALE)
        rgb = torch.from_numpy(image.astype(np.float32) / 255).repeat(3, 1, 1)
        return rgb, torch.from_numpy(self.indices[mask])


def main() -> None:
    """Prints both rates pair by pair, and the medians of what is derived from them."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ACDC_WORK_DIR"] = scratch
        data = options.data or write_phantom(Path(scratch) / "phantom")
        rows = {}
        for name in options.models:
            overrides = [f"data.path={data}", f"train.batch_size={options.batch_size}"]
            config = load_config(model=name, overrides=[*overrides, *options.set])
            rows[name] = compare(
                for_benchmark(config), pairs=options.pairs, seconds=options.seconds, say=print_pair
            )
            print_row(name, rows[name])
    if options.json:
        print(json.dumps(rows))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--data", type=Path, help="gray images and masks, default a phantom")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30, help="least time of each measurement")
    parser.add_argument("--set", nargs="+", default=[], help="settings, such as data.num_workers=1")
    parser.add_argument("--json", action="store_true", help="print a JSON line at the end")
    return parser.parse_args()


def write_phantom(folder: Path, *, num_patients: int = NUM_PATIENTS) -> Path:
    """An ACDC tree of synthetic hearts; `open_source` cuts it to 96x96 slices."""
    synthesize(folder, num_patients=num_patients, num_test_patients=0)
    return folder


def for_benchmark(config: Config) -> Config:
    """The config without validation and pictures, which the plain loop does not have either."""
    changes = {
        "data.validation": False,
        "train.epochs": 100_000,
        "train.log_images_interval": 0,
        "train.precision": resolve_precision(
            config.train.precision, resolve_device(config.train.device)
        ),
    }
    return with_overrides(config, changes)


def compare(
    config: Config,
    *,
    pairs: int,
    seconds: float,
    say: Callable[[int, dict[str, float]], None] = lambda number, pair: None,
) -> dict[str, Any]:
    """Both ways in turn: medians over the pairs, and the pairs.

    Args:
        config: Of `for_benchmark`.
        pairs: Number of them.
        seconds: Least time of each measurement.
        say: Called with the number of a pair, from 1, and its values.
    """
    source = open_source(config.data, prepare_settings=config.prepare, classes=config.classes)
    flop = step_flop(config, source)
    dtype = DTYPES[config.train.precision]
    found = []
    for number in range(1, pairs + 1):
        device = resolve_device(config.train.device)
        peak = convolution_peak(dtype, batch_size=config.train.batch_size, device=device)
        plain, _ = plain_rates(config, source, seconds)
        ours, wait = training_rates(config, source, seconds)
        pair = {"plain": plain, "ours": ours, "ratio": ours / plain, "data_wait": wait}
        found.append({**pair, "peak_fraction": ours * flop / peak, "peak_gflops": peak / 1e9})
        say(number, found[-1])
    medians = {key: statistics.median(pair[key] for pair in found) for key in found[0]}
    facts = {
        "gflop_per_image": flop / 1e9,
        "batch_size": config.train.batch_size,
        "precision": config.train.precision,
        "threads": torch.get_num_threads(),
    }
    return {**medians, **facts, "pairs": found}


def training_rates(config: Config, source: Source, seconds: float) -> tuple[float, float]:
    """Images per second of `acdc-train`, and the part of its time that it waited for data."""
    watch = Stopwatch(seconds)
    hooks = loop.Hooks(
        on_batch=lambda epoch, done, total, loss: watch.count(done),
        should_stop=lambda: watch.is_over,
    )
    batches = loop.batches
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(loop, "batches", lambda loader: watch.watch(batches(loader))),
    ):
        loop.train(with_overrides(config, {"runs_dir": folder}), source, hooks=hooks)
    rate, wait = watch.rates()
    return rate * config.train.batch_size, wait


def plain_rates(config: Config, source: Source, seconds: float) -> tuple[float, float]:
    """Images per second of the plain loop, and the part of its time that it waited for data."""
    device = resolve_device(config.train.device)
    model = build_model(config.model, 3, len(config.classes.names)).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(
        PlainSlices(source.split("train"), config.classes.values),
        batch_size=config.train.batch_size,
        shuffle=True,
        num_workers=PLAIN_WORKERS,
        drop_last=True,
    )
    watch, total = Stopwatch(seconds), 0.0
    while not watch.is_over:
        for done, (images, masks) in enumerate(watch.watch(loader), start=1):
            loss = F.cross_entropy(model(images.to(device)), masks.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            watch.count(done)
            if watch.is_over:
                break
    rate, wait = watch.rates()
    return rate * config.train.batch_size, wait


def step_flop(config: Config, source: Source) -> float:
    """Floating-point operations of one image in a training step, a multiply-add being two."""
    image = cv2.imread(str(source.split("train")[0].image), cv2.IMREAD_GRAYSCALE)
    size = config.data.size or image.shape
    model = build_model(config.model, config.data.channels, len(config.classes.names)).train()
    images = torch.zeros(2, config.data.channels, *size)  # two, for BatchNorm of maps of one pixel
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops() / len(images)


def convolution_peak(
    dtype: torch.dtype,
    *,
    batch_size: int,
    device: torch.device,
    seconds: float = 0.5,
) -> float:
    """Best floating-point operations per second of a channels_last convolution.

    Args:
        dtype: Of maps and weights.
        batch_size: Images.
        device: Where the training runs.
        seconds: Time for each shape.
    """
    return max(
        _convolution_rate(
            torch.randn(batch_size, channels, size, size, device=device).to(dtype), seconds
        )
        for channels, size in PEAK_SHAPES
    )


@torch.inference_mode()
def _convolution_rate(maps: torch.Tensor, seconds: float) -> float:
    batch_size, channels, height, width = maps.shape
    maps = maps.contiguous(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(maps)
    conv = conv.to(memory_format=torch.channels_last)
    conv(maps)
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        conv(maps)
        if maps.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * 9 * channels**2 * batch_size * height * width / min(times)


def print_pair(number: int, pair: dict[str, float]) -> None:
    print(
        f"  pair {number}: plain {pair['plain']:7.2f}, acdc-train {pair['ours']:7.2f} images/s, "
        f"{pair['ratio']:.2f} times; {pair['peak_fraction']:.0%} of {pair['peak_gflops']:.0f} "
        f"GFLOP/s, {pair['data_wait']:.1%} waiting for data",
        flush=True,
    )


def print_row(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name}: {row['ours']:.2f} images/s, {row['ratio']:.2f} times the plain loop, "
        f"{row['peak_fraction']:.0%} of the peak, {row['data_wait']:.1%} waiting for data "
        f"({row['precision']}, batch {row['batch_size']}, {row['threads']} threads)",
        flush=True,
    )


if __name__ == "__main__":
    main()
