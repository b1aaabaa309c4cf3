"""The metadata of an exported file, from which `inference/onnx.py` reads how to use it."""

import json
from typing import Any

from acdc_seg import __version__
from acdc_seg.config import to_dict
from acdc_seg.data.geometry import Size
from acdc_seg.inference.predictors import Predictor

FORMAT = 1
INPUTS = {"float32": 1, "uint8": 255, "uint16": 65535}
"""Types of the images, and the value that is white."""
NO_LICENSE = "not stated; the terms of the training data apply to weights"
PURPOSE = "research only, not for diagnosis"


def describe_file(
    predictor: Predictor,
    *,
    input_type: str,
    whole: bool,
    size: Size | None,
    license: str | None,
) -> dict[str, str]:
    """Properties by name; all but texts are JSON.

    Args:
        predictor: See `export_onnx`, also for what follows.
        input_type: Type of the images.
        whole: Whether networks see whole images as they are.
        size: Height and width; None where they are free.
        license: Terms of the weights.
    """
    config = predictor.config
    images = {
        "type": input_type,
        "white": INPUTS[input_type],
        "channels": predictor.channels,
        "size": size,
        "whole": whole,
    }
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
