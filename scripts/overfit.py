"""Can a network learn at all? Each one overfits four phantom slices.

Prints a Markdown table with the steps until the Dice in eval mode exceeds 0.95.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from acdc_seg.config import ClassesConfig, Config, DataConfig, LossConfig, PrepareConfig
from acdc_seg.data.examples import FileExamples, stack_examples
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.data.readers import read_records
from acdc_seg.data.slicing import prepare
from acdc_seg.data.source import read_volumes
from acdc_seg.data.splits import select_splits
from acdc_seg.data.transforms import preprocess
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.losses import build_loss
from acdc_seg.metrics.scores import score_labels
from acdc_seg.metrics.summary import summarize
from acdc_seg.models import MODELS, create_model
from acdc_seg.runtime.device import DTYPES, resolve_device, resolve_precision

DATA, CLASSES = DataConfig(), ClassesConfig()
NUM_SLICES = 4
LEARNED = 0.95
MAX_STEPS = 400
STEPS_PER_CHECK = 10
LEARNING_RATE = 1e-3
LEARNING_RATES = {"enet": 5e-3}
"""Networks that need another one: ENet is not there after 600 steps of `LEARNING_RATE`."""


def phantom_slices() -> tuple[torch.Tensor, torch.Tensor]:
    """Images `(4, 1, 96, 96)` in 0..1 and classes `(4, 96, 96)`: the middle slice at end-diastole
    of four patients.
    """
    settings = PrepareConfig(slices="mid", phases=("ED",))
    with TemporaryDirectory() as folder:
        tree, slices = Path(folder) / "tree", Path(folder) / "slices"
        patients = synthesize(tree, num_patients=NUM_SLICES, num_test_patients=0)
        prepare(
            select_splits(
                read_volumes(DataConfig(path=str(tree))),
                {"train": [patient.name for patient in patients]},
            ),
            slices,
            settings=settings,
        )
        images, masks = stack_examples(
            FileExamples(
                read_records("paired", slices, DATA), data=DATA, classes=CLASSES, for_training=True
            )
        ).tensors
        return images, masks


def overfit(name: str, images: torch.Tensor, masks: torch.Tensor) -> tuple[int, float]:
    """Trains a fresh network with its default options until it has learned, or `MAX_STEPS`.

    Returns:
        Its steps and its Dice in eval mode.
    """
    torch.manual_seed(0)
    device = resolve_device("auto")
    precision = resolve_precision("auto", device)
    model = create_model(name, images.shape[1], len(CLASSES.names))
    predictor = ModelPredictor(
        model, Config(data=DATA, classes=CLASSES), device=device, precision=precision
    )
    criterion = build_loss(LossConfig(name="dice_ce"), num_classes=len(CLASSES.names)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATES.get(name, LEARNING_RATE))
    inputs = preprocess(images, DATA).to(device)
    target = masks.long().to(device)
    for step in range(1, MAX_STEPS + 1):
        model.train()
        with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
            logits = model(inputs)
        optimizer.zero_grad()
        criterion(logits, target).backward()
        optimizer.step()
        if step % STEPS_PER_CHECK == 0:
            dice = foreground_dice(predictor.logits(images).argmax(1).cpu().numpy(), masks.numpy())
            if dice > LEARNED:
                break
    return step, dice


def foreground_dice(labels: np.ndarray, masks: np.ndarray) -> float:
    """Mean Dice over slices and over RV, MYO and LV; both arguments are `(B, H, W)`."""
    scores = [
        score_labels(slice_labels, mask, id="slice", classes=CLASSES.names)
        for slice_labels, mask in zip(labels, masks, strict=True)
    ]
    return summarize(scores).dice


def table_row(name: str, images: torch.Tensor, masks: torch.Tensor) -> str:
    """The network's line of the table."""
    model = create_model(name, 1, len(CLASSES.names))
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    started = time.monotonic()
    steps, dice = overfit(name, images, masks)
    seconds = time.monotonic() - started
    return (
        f"| {name} | {num_parameters:,} | {steps if dice > LEARNED else f'over {steps}'} | "
        f"{dice:.4f} | {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", choices=list(MODELS), help="networks; all by default"
    )
    models = parser.parse_args().models or MODELS
    images, masks = phantom_slices()
    print(
        "| network | parameters | steps | Dice | seconds |",
        "|---|---:|---:|---:|---:|",
        sep="\n",
        flush=True,
    )
    for name in models:
        print(table_row(name, images, masks), flush=True)


if __name__ == "__main__":
    main()
