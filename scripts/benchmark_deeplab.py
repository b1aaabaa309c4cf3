#!/usr/bin/env python
"""Speed of a DeepLabV3+-DRN training step on this machine, with and without each optimization.

The variants take turns in one run.

Usage: scripts/benchmark_deeplab.py [--batch-size 8] [--size 96] [--rounds 7] [--threads N] [--out
FILE.json]
"""

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models import create_model
from acdc_seg.models.blocks import AtrousConv2d

VARIANTS = {
    "plain fp32": {"live_taps": False, "channels_last": False, "bf16": False},
    "fp32, dead taps left out": {"live_taps": True, "channels_last": False, "bf16": False},
    "fp32, channels_last, dead taps left out": {
        "live_taps": True,
        "channels_last": True,
        "bf16": False,
    },
    "bf16, channels_last": {"live_taps": False, "channels_last": True, "bf16": True},
    "bf16, channels_last, dead taps left out (as acdc-train)": {
        "live_taps": True,
        "channels_last": True,
        "bf16": True,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images = torch.randn(args.batch_size, 1, args.size, args.size)
    masks = torch.randint(0, 4, (args.batch_size, args.size, args.size))
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for number in range(args.rounds + 1):
        for name, variant in VARIANTS.items():
            elapsed = step_seconds(images, masks, **variant)
            if number:  # the first round warms up
                seconds[name].append(elapsed)
    rates = {name: args.batch_size / statistics.median(times) for name, times in seconds.items()}
    base = rates["plain fp32"]
    print(
        f"{args.threads} threads, batch {args.batch_size}, {args.size}x{args.size}, median of "
        f"{args.rounds} steps"
    )
    for name, rate in rates.items():
        print(f"{rate:8.2f} images/s  {rate / base:5.2f}x  {name}")
    if args.out:
        args.out.write_text(
            json.dumps(
                {"images_per_second": rates, "seconds": seconds, "threads": args.threads}, indent=2
            )
            + "\n"
        )


def step_seconds(
    images: torch.Tensor, masks: torch.Tensor, *, live_taps: bool, channels_last: bool, bf16: bool
) -> float:
    """Time of the second of two training steps of a fresh network."""
    model = create_model("deeplab_drn", 1, 4).train()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    with ExitStack() as stack:
        if not live_taps:
            stack.enter_context(mock.patch.object(AtrousConv2d, "forward", nn.Conv2d.forward))
        for _ in range(2):
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(images)
            F.cross_entropy(logits.float(), masks).backward()
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
