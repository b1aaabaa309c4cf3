"""Texts of tiny experiments that several test files run, and made up results."""

from acdc_seg.experiments.results import RunResult

TINY = """
base:
  model.name: unet
  model.depth: 2
  model.base_channels: 4
  train.epochs: 2
  train.batch_size: 2
  train.device: cpu
  train.precision: fp32
recipe: false
"""
RATES = f"title: Rates\n{TINY}\ngrid: {{optimizer.lr: [0.1, 0.01]}}\n"


def make_result(
    scores, *, losses=(0.5, 0.3, 0.4), train=None, dice=(0.1, 0.9, 0.2), cross_entropy=None
):
    """A training with these Dice by image, two images of each patient, and this history."""
    train = [loss / 2 for loss in losses] if train is None else train
    history = [
        {
            "epoch": epoch,
            "train_loss": train_loss,
            "val_loss": val_loss,
            "dice": value,
            "seconds": 2.0,
        }
        for epoch, (train_loss, val_loss, value) in enumerate(
            zip(train, losses, dice, strict=True), start=1
        )
    ]
    images = [
        {"id": f"i{number}", "patient": f"p{number // 2}", "dice": score, "iou": score / 2}
        for number, score in enumerate(scores)
    ]
    return RunResult(history, images, cross_entropy, 1_000_000, 8, 90.0, {})
