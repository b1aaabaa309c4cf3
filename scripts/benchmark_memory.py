"""Peak memory of acdc-submit and acdc-evaluate on few and on many slices; fails where it grows with
more than their results.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from acdc_seg.config import load_config
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import Checkpoint, save_checkpoint

NUM_DISTINCT = 10
BYTES_PER_SLICE = {"submit": 4_000, "evaluate": 12_000}
"""Growth that results explain: ids, paths, scores.

Labels kept would add 9,216 bytes for a 96x96 slice, images 36,864 more.
"""
TINY = ("model.depth=2", "model.base_channels=4", "train.precision=fp32", "train.device=cpu")
RUN_AND_MEASURE = """
import sys
from importlib import import_module
try:
    import_module(sys.argv.pop(1)).main()
finally:
    lines = open("/proc/self/status").read().splitlines()
    print(*(line.split()[1] for line in lines if line.startswith("VmHWM:")), file=sys.stderr)
"""


def write_slices(folder: Path, *, num_slices: int, size: int) -> None:
    """Paired images and masks of a disk; few of them are files of their own, the others are links
    to those.
    """
    rows, cols = np.mgrid[:size, :size]
    for kind in ("image", "mask"):
        (folder / "test" / kind).mkdir(parents=True)
    for number in range(num_slices):
        names = {"image": f"slice{number:05d}.png", "mask": f"slice{number:05d}_mask.png"}
        for kind, name in names.items():
            path = folder / "test" / kind / name
            if number >= NUM_DISTINCT:
                os.link(
                    path.with_name(name.replace(f"{number:05d}", f"{number % NUM_DISTINCT:05d}")),
                    path,
                )
                continue
            mask = 3 * (np.hypot(rows - size / 2, cols - size / 2) < size / 8 + number).astype(
                np.uint8
            )
            path.write_bytes(
                cv2.imencode(".png", mask if kind == "mask" else mask * 60)[1].tobytes()
            )


def write_checkpoint(path: Path) -> None:
    """A tiny U-Net that finds background alone: the run lengths of random masks would be larger
    than the masks.
    """
    config = load_config(overrides=TINY)
    torch.manual_seed(0)
    weights = build_model(
        config.model, config.data.channels, len(config.classes.names)
    ).state_dict()
    weights = {
        name: torch.zeros_like(value) if name.startswith("head.") else value
        for name, value in weights.items()
    }
    save_checkpoint(
        path, Checkpoint(config=config, weights=weights, epoch=1, dice=None, data="paired")
    )


def peak_memory(command: str, *arguments: object) -> int:
    """Bytes that a command held at most."""
    call = [sys.executable, "-c", RUN_AND_MEASURE, f"acdc_seg.cli.{command}", *map(str, arguments)]
    # large arrays go back to the system when they are freed, so that the peak is what was held
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384"}
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
    return int(done.stderr.split()[-1]) * 1024


def measure(
    folder: Path, *, num_slices: int, size: int, commands: Collection[str] = tuple(BYTES_PER_SLICE)
) -> dict[str, int]:
    """Peak bytes of each command."""
    data, checkpoint = folder / f"{num_slices} slices", folder / "tiny.pt"
    write_slices(data, num_slices=num_slices, size=size)
    write_checkpoint(checkpoint)
    arguments = {
        "submit": ("--runs", checkpoint, "--data", data, "--out", folder / "submission.csv"),
        "evaluate": (checkpoint, "--data", data, "--split", "test", "--out", data / "scores"),
    }
    return {command: peak_memory(command, *arguments[command]) for command in commands}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=10_000, help="compared with a tenth of it")
    parser.add_argument("--size", type=int, default=96, help="height and width of a slice")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        few, many = (
            measure(Path(folder), num_slices=num, size=options.size)
            for num in (options.slices // 10, options.slices)
        )
    added = options.slices - options.slices // 10
    print(
        f"| command | {options.slices // 10:,} slices | {options.slices:,} slices | bytes a slice "
        "|\n|---|---:|---:|---:|"
    )
    for name, peak in many.items():
        print(
            f"| `acdc-{name}` | {few[name] / 1e6:.0f} MB | {peak / 1e6:.0f} MB | "
            f"{(peak - few[name]) / added:,.0f} |"
        )
    if grown := [
        name for name, bound in BYTES_PER_SLICE.items() if many[name] - few[name] > bound * added
    ]:
        sys.exit(f"acdc-{grown[0]} grows by more than {BYTES_PER_SLICE[grown[0]]:,} bytes a slice.")


if __name__ == "__main__":
    main()
