"""export_program: a predictor as an ExportedProgram of PyTorch, without our Python code."""

import io
import json
from pathlib import Path

import torch
from torch.export import Dim

from acdc_seg.data.geometry import Size
from acdc_seg.errors import ConfigError
from acdc_seg.export.about import describe_file, describe_images
from acdc_seg.export.graph import PredictorGraph, check_models, list_models, prepare_for_images
from acdc_seg.export.parity import MAX_DIFFERENCE
from acdc_seg.files import replacing
from acdc_seg.inference.postprocess import without_largest
from acdc_seg.inference.predictors import Predictor

ABOUT = "acdc_seg.json"
"""The file in the archive that holds the metadata of `describe_file`."""


def export_program(
    predictor: Predictor,
    path: Path,
    *,
    whole: bool = False,
    size: Size | None = None,
    license: str | None = None,
) -> tuple[Size, float]:
    """Writes a `.pt2` file of `torch.export.save`: images `(batch, C, height, width)` in 0..1 to
    probabilities `(batch, K, height, width)`.

    The batch is free, height and width are not. Largest regions are not in it, as in
    `export_onnx`.

    Args:
        predictor: A model, ensemble or test-time augmentation on the CPU in fp32.
        path: File to write.
        whole: Networks see images as they are, without `data.size`.
        size: Height and width of the images; None takes `data.size`, else `prepare.size`.
        license: Terms of the weights.

    Returns:
        Height and width, and the largest difference of probabilities from the predictor's.

    Raises:
        ConfigError: A predictor that is not on the CPU in fp32, or that cannot be exported.
        DataError: The file cannot be written.
    """
    check_models(list_models(predictor))
    data = predictor.config.data
    shape = size or data.size or predictor.config.prepare.size
    whole = prepare_for_images(predictor, whole=whole)
    images = describe_images(predictor, data, input_type="float32", whole=whole, volumes=False)
    about = describe_file(predictor, {**images, "size": shape}, license=license)
    module = PredictorGraph(without_largest(predictor)).eval()
    # a ramp, for a constant image has no deviation to divide by
    example = torch.linspace(0, 1, 2 * predictor.channels * shape[0] * shape[1])
    example = example.reshape(2, predictor.channels, *shape)
    content, batch = io.BytesIO(), example.roll(1, -1)[[0, 1, 1]]
    try:
        with torch.no_grad():  # else the file has switches of gradients, and cannot be loaded
            program = torch.export.export(
                module, (example,), dynamic_shapes=({0: Dim("batch")},), strict=False
            )
            torch.export.save(program, content, extra_files={ABOUT: json.dumps(about)})
            content.seek(0)
            loaded = torch.export.load(content).module()
            difference = float((loaded(batch) - module(batch)).abs().max())
    except Exception as error:  # its errors have no common class
        raise ConfigError(
            f"{predictor}: cannot be exported by torch.export: {str(error).splitlines()[0]}"
        ) from None
    if difference > MAX_DIFFERENCE:
        raise ConfigError(
            f"{path}: would differ from the model by {difference:.1e}, more than "
            f"{MAX_DIFFERENCE:g}; export it with --format onnx"
        )
    with replacing(path) as file:
        file.write(content.getvalue())
    return shape, difference
