"""acdc-export --int8: calibration images, and the cost in Dice."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from acdc_seg.cli.app import console
from acdc_seg.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from acdc_seg.config import Config
    from acdc_seg.data.source import Source
    from acdc_seg.inference.predictors import Predictor

NUM_IMAGES = 40
"""Calibration images, evenly spaced in the training split."""


def write_int8(path: Path, predictor: "Predictor", calibrate: Path | None) -> None:
    """Replaces an exported file by its 8-bit form, and prints what that costs.

    Args:
        path: File of `export_onnx`.
        predictor: What it was made from.
        calibrate: Data; None takes that of the training.

    Raises:
        ConfigError: The data of the training is not there.
    """
    from acdc_seg.export.graph import list_models
    from acdc_seg.export.quantize import DYNAMIC, quantize_onnx
    from acdc_seg.inference.onnx import OnnxPredictor

    networks = [model.config.model.name for model in list_models(predictor)]
    is_dynamic = any(name in DYNAMIC for name in networks)
    source = _open(predictor.config, calibrate)
    before, size = OnnxPredictor(path, device="cpu"), path.stat().st_size
    expected = _dice(before, source, predictor)
    images = [] if is_dynamic else list(_read_images(source, predictor))
    quantize_onnx(path, path, images, is_dynamic=is_dynamic)
    how = "weights alone" if is_dynamic else f"calibrated with {len(images)} images"
    console.print(f"int8: {how}, {size / 1e6:.1f} to {path.stat().st_size / 1e6:.1f} MB")
    found = _dice(OnnxPredictor(path, device="cpu"), source, predictor)
    if expected is None or found is None:
        console.print("No validation images with masks: what it costs in Dice was not measured.")
        return
    console.print(
        f"Mean Dice of {len(source.split('val'))} validation images: fp32 {expected:.4f}, int8 "
        f"{found:.4f} ({found - expected:+.4f})"
    )


def _open(config: "Config", calibrate: Path | None) -> "Source":
    """The data of the training, or other data."""
    from acdc_seg.data.source import open_source

    data = config.data
    if calibrate is not None:
        data = data.model_copy(update={"path": str(calibrate), "num_folds": None, "fold": None})
    elif data.path is not None and not Path(data.path).exists():
        raise ConfigError(
            f"--int8: the data of the training ({data.path}) is not here; give images to calibrate "
            "with, as in --calibrate DATA"
        )
    return open_source(data, prepare_settings=config.prepare)


def _read_images(source: "Source", predictor: "Predictor") -> "Iterator[np.ndarray]":
    """Batches `(1, C, H, W)` of some training images."""
    from acdc_seg.inference.stream import read_examples

    records = source.split("train") or source.records
    step = max(1, len(records) // NUM_IMAGES)
    for example in read_examples(records[::step][:NUM_IMAGES], predictor, with_masks=False):
        yield example.image.numpy()[None]


def _dice(predictor: "Predictor", source: "Source", reader: "Predictor") -> float | None:
    """Mean Dice over validation images and classes; None where no image has a mask.

    Images and masks are read as those of `reader`, which knows the settings of the training.
    """
    from acdc_seg.evaluation.scoring import score_stream
    from acdc_seg.inference.stream import predict_examples, read_examples
    from acdc_seg.metrics.summary import summarize

    records = [record for record in source.split("val") if record.mask is not None]
    if not records:
        return None
    stream = predict_examples(predictor, read_examples(records, reader))
    return summarize(score_stream(stream, records, reader.classes).images).dice
