"""The metadata of an exported file, from which `inference/onnx.py` reads how to use it."""

import json
from typing import Any

from acdc_seg import __version__
from acdc_seg.config import DataConfig, to_dict
from acdc_seg.inference.base import Predictor
from acdc_seg.inference.onnx import FORMAT

INPUTS = {"float32": 1, "uint8": 255, "uint16": 65535}
"""Types of the images, and the value that is white."""
NO_LICENSE = "not stated; the terms of the training data apply to weights"
PURPOSE = "research only, not for diagnosis"


def describe_images(
    predictor: Predictor, data: DataConfig, *, input_type: str, whole: bool, volumes: bool
) -> dict[str, Any]:
    """What the file takes, and what the caller has to do before.

    Args:
        predictor: See `export_onnx`, also for what follows.
        data: Its settings before the export.
        input_type: Type of the images.
        whole: Whether networks see whole images as they are.
        volumes: Whether normalization and windows are left to the caller.
    """
    steps = to_dict(data) if volumes else {}
    names = ("normalize", "mean", "std", "size", "fit")
    return {
        "type": input_type,
        "white": INPUTS[input_type],
        "channels": predictor.channels,
        "whole": whole,
        "volumes": volumes,
        "data": {name: steps[name] for name in names if name in steps},
    }


def describe_file(
    predictor: Predictor, images: dict[str, Any], *, license: str | None
) -> dict[str, str]:
    """Properties by name; all but texts are JSON.

    Args:
        predictor: What is exported.
        images: See `describe_images`, and their `size`.
        license: Terms of the weights.
    """
    config = predictor.config
    content: dict[str, Any] = {
        "format": FORMAT,
        "images": images,
        "classes": to_dict(config.classes)["labels"],
        "has_background": config.classes.has_background,
        "prepare": to_dict(config.prepare),
        "model": _describe_model(predictor),
    }
    texts = {name: json.dumps(value) for name, value in content.items()}
    texts |= {"license": license or NO_LICENSE, "purpose": PURPOSE}
    return {**texts, "acdc_seg": __version__}


def _describe_model(predictor: Predictor) -> dict[str, Any]:
    """Its protocol without paths, which are nobody's business."""
    about = predictor.describe()
    members = [
        {name: value for name, value in member.items() if name != "path"}
        for member in about["members"]
    ]
    return {**about, "members": members}
