#!/usr/bin/env python
"""Two trainings side by side on one machine: the sum of their rates over the rate of one alone.

    python scripts/benchmark_neighbors.py [--model unet] [--data DIR] [--processes 2] [--pairs 3]
        [--seconds 30] [--threads N] [--json]

Every training is `acdc_seg.training.loop.train` in a process of its own, with the recipe of the
network, batches of 8, and PyTorch's number of threads unless one is given. All count their images
in the same time, which starts when each has finished its first batch. One alone and several take
turns.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the commands do, before PyTorch is loaded

from acdc_seg.config import Config, load_config, with_overrides

PATIENCE_S = 600
"""Longest time that a training waits for the others' first batch."""


def main() -> None:
    """Prints rates pair by pair, and the median of their quotient."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="unet")
    parser.add_argument("--data", type=Path, help="images and masks, default a phantom")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--threads", type=int, help="of every training")
    parser.add_argument("--json", action="store_true", help="print a JSON line at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ACDC_WORK_DIR"] = scratch
        config = make_config(options, Path(scratch))
        pairs = []
        for number in range(1, options.pairs + 1):
            (alone,) = side_by_side(config, 1, options.seconds)
            together = side_by_side(config, options.processes, options.seconds)
            pairs.append({"alone": alone, "together": together, "share": sum(together) / alone})
            each = " + ".join(f"{rate:.2f}" for rate in together)
            print(f"pair {number}: {alone:.2f} alone, {each} images/s, {sum(together) / alone:.0%}")
    share = statistics.median(pair["share"] for pair in pairs)
    print(f"{options.processes} trainings of {options.model}: {share:.0%} of the rate of one")
    if options.json:
        print(json.dumps({"share": share, "pairs": pairs}))


def make_config(options: argparse.Namespace, scratch: Path) -> Config:
    """The recipe, on the data or on a phantom, without validation."""
    data = options.data
    if data is None:
        from acdc_seg.data.phantom.patients import synthesize

        data = scratch / "phantom"
        synthesize(data, num_patients=5, num_test_patients=0)
    config = load_config(model=options.model, overrides=[f"data.path={data}"])
    changes: dict[str, Any] = {"train.num_threads": options.threads} if options.threads else {}
    return with_overrides(
        config, {**changes, "data.validation": False, "train.log_images_interval": 0}
    )


def side_by_side(config: Config, count: int, seconds: float) -> list[float]:
    """Images per second of so many trainings that run at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(count), context.Queue()
    processes = [
        context.Process(target=_train, args=(config, seconds, barrier, rates)) for _ in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        raise SystemExit(f"{len(failed)} of {count} trainings failed")
    return sorted(rates.get() for _ in processes)


def _train(config: Config, seconds: float, barrier: Any, rates: Any) -> None:
    """One of the trainings: puts its images per second into the queue."""
    from acdc_seg.training.loop import Hooks, train

    times: list[float] = []

    def count(*_: object) -> None:
        if not times:
            barrier.wait(PATIENCE_S)
        times.append(time.perf_counter())

    def is_over() -> bool:
        return len(times) > 1 and times[-1] - times[0] >= seconds

    config = with_overrides(config, {"train.epochs": 100_000})
    with tempfile.TemporaryDirectory() as folder:
        config = with_overrides(config, {"runs_dir": folder})
        train(config, hooks=Hooks(on_batch=count, should_stop=is_over))
    rates.put((len(times) - 1) * config.train.batch_size / (times[-1] - times[0]))


if __name__ == "__main__":
    main()
