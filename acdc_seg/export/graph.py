"""export_onnx: a predictor as one ONNX file, images in and probabilities out.

The graph is a recording of `Predictor.predict_batch`, so that channels, size, normalization,
network, softmax, test-time augmentation and soft vote are those of prediction. What depends on the
size of an image is recorded as operations (`runtime/tracing.py`), and files take images of any size
unless the network itself cannot.
"""

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn

from acdc_seg.config import Config
from acdc_seg.data.geometry import Size
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.export.about import INPUTS, describe_file, describe_images
from acdc_seg.files import replacing
from acdc_seg.inference.postprocess import KeepLargest, without_largest
from acdc_seg.inference.predictors import TTA, Ensemble, ModelPredictor, Predictor

OPSET = 18
"""Version of ONNX's operators; ONNX Runtime has them since 1.14 (2023)."""
FIXED_SIZE = ("swin_unet",)
"""Networks that prepare their attention masks for one size."""
EXAMPLE = (45, 53)
"""Height and width that are recorded; odd, so that all padding is there."""


class PredictorGraph(nn.Module):
    """The predictor as a module, with the networks in it."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor
        self.networks = nn.ModuleList(model.model for model in list_models(predictor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities `(B, K, H, W)` of images `(B, C, H, W)` in 0..1."""
        return self.predictor.predict_batch(images)


def export_onnx(
    predictor: Predictor,
    path: Path,
    *,
    input_type: str = "float32",
    whole: bool = False,
    volumes: bool = False,
    size: Size | None = None,
    license: str | None = None,
) -> dict[str, str]:
    """Writes `images` `(batch, C, height, width)` to `probabilities` `(batch, K, height, width)`.

    Largest regions of a `KeepLargest` are not in the graph; its metadata names the classes.

    Args:
        predictor: A model, ensemble or test-time augmentation on the CPU in fp32.
        path: File to write.
        input_type: float32 in 0..1, or uint8 or uint16, which the graph divides by their largest
            value.
        whole: Networks see images as they are, without `data.size`. Networks that windows trained
            always do.
        volumes: For `OnnxPredictor` and `acdc-predict`, which normalize slices and cut windows from
            them: the graph does neither.
        size: The only height and width that the file takes; None takes any.
        license: Terms of the weights, for its metadata.

    Returns:
        Its metadata.

    Raises:
        ConfigError: ONNX is not installed, an unknown type, a network that needs a fixed size, or
            a predictor that is not on the CPU in fp32.
        DataError: The file cannot be written.
    """
    onnx = import_onnx()
    if input_type not in INPUTS:
        raise ConfigError(f"input type '{input_type}': {did_you_mean(input_type, INPUTS)}")
    models = list_models(predictor)
    check_models(models)
    data = predictor.config.data
    if volumes:
        _prepare_for_volumes(predictor)
    else:
        whole = prepare_for_images(predictor, whole=whole)
    is_any = [_takes_any_size(model.config, size) for model in models]
    images = describe_images(predictor, data, input_type=input_type, whole=whole, volumes=volumes)
    about = describe_file(predictor, {**images, "size": size}, license=license)
    shape = size or example_size([model.config.data.size for model in models])
    graph = onnx.load_from_string(_trace(predictor, shape, is_dynamic=all(is_any) and not size))
    if input_type != "float32":
        _scale_integers(onnx, graph, input_type)
    onnx.helper.set_model_props(graph, about)
    onnx.checker.check_model(graph)
    with replacing(path) as file:
        file.write(graph.SerializeToString())
    return about


def list_models(predictor: Predictor) -> list[ModelPredictor]:
    """The models in a predictor, in their order."""
    if isinstance(predictor, ModelPredictor):
        return [predictor]
    members: list[Predictor] = []
    if isinstance(predictor, Ensemble):
        members = predictor.members
    elif isinstance(predictor, TTA | KeepLargest):
        members = [predictor.predictor]
    models: list[ModelPredictor] = []
    for member in members:
        models += list_models(member)
    return models


def example_size(sizes: Sequence[Size | None]) -> Size:
    """A height and width to record, from `data.size` of the models: smaller and of another shape,
    so that no step of the placement is left out.
    """
    given = [size for size in sizes if size is not None]
    if not given:
        return EXAMPLE
    height, width = min(size[0] for size in given), min(size[1] for size in given)
    return max(1, height - height // 4), max(1, width - width // 2)


def import_onnx() -> ModuleType:
    """The package `onnx`; raises ConfigError where it is not installed."""
    try:
        import onnx
    except ImportError:
        raise ConfigError(
            "ONNX is not installed; install it with: pip install 'acdc_seg[onnx]'"
        ) from None
    return cast(ModuleType, onnx)


def check_models(models: list[ModelPredictor]) -> None:
    """Raises ConfigError unless all are on the CPU in fp32."""
    for model in models:
        if model.device.type != "cpu" or model.precision != "fp32":
            raise ConfigError(
                f"the model is on {model.device.type} in {model.precision}; load it with "
                "device='cpu', precision='fp32' to export it"
            )


def prepare_for_images(predictor: Predictor, *, whole: bool) -> bool:
    """Leaves out `data.size` where images are to be seen as they are, or windows trained a network;
    returns whether it is left out.
    """
    whole = whole or any(model.config.data.window for model in list_models(predictor))
    if whole:
        predictor.change_data({"size": None, "fit": "pad"})
    return whole


def _prepare_for_volumes(predictor: Predictor) -> None:
    """Leaves windows and normalization to the caller.

    Raises:
        ConfigError: Members that normalize differently, or a network that needs a fixed size.
    """
    for model in list_models(predictor):
        if model.config.model.name in FIXED_SIZE:
            raise ConfigError(
                f"{model.config.model.name} takes images of one size; export it for images, "
                "without --volumes"
            )
    rules = {(data.normalize, data.mean, data.std) for data in predictor.data_settings()}
    if len(rules) > 1:
        raise ConfigError(
            "the members of the ensemble normalize images in different ways; export them for "
            "images, without --volumes, or each by itself"
        )
    predictor.change_data({"size": None, "fit": "pad", "normalize": "none"})


def _takes_any_size(config: Config, size: Size | None) -> bool:
    """Whether the network does; raises ConfigError where it needs one and has none."""
    name, data = config.model.name, config.data
    if name not in FIXED_SIZE:
        return True
    if size is None and (data.size is None or data.fit in ("pad", "crop")):
        raise ConfigError(f"{name} is exported for one size of images; give it, as in --size 96x96")
    return data.size is not None and data.fit not in ("pad", "crop")


def _trace(predictor: Predictor, shape: Size, *, is_dynamic: bool) -> bytes:
    """The recorded graph of a predictor without its largest regions."""
    module = PredictorGraph(without_largest(predictor)).eval()
    axes = {0: "batch", 2: "height", 3: "width"} if is_dynamic else {0: "batch"}
    # a ramp, for a constant image has no deviation to divide by
    example = torch.linspace(0, 1, 2 * predictor.channels * shape[0] * shape[1])
    file, logger = io.BytesIO(), logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches, which are chosen with care
        logger.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                module,
                (example.reshape(2, predictor.channels, *shape),),
                cast(Any, file),
                input_names=["images"],
                output_names=["probabilities"],
                opset_version=OPSET,
                dynamic_axes={"images": axes, "probabilities": axes},
                # the exporter by torch.export takes minutes for a table of networks, and stops at
                # sizes that decide on branches
                dynamo=False,
            )
        except torch.onnx.OnnxExporterError as error:
            names = ", ".join(model.config.model.name for model in list_models(predictor))
            raise ConfigError(
                f"{names}: cannot be written as ONNX: {str(error).splitlines()[0]}"
            ) from None
        finally:
            logger.setLevel(level)
    return file.getvalue()


def _scale_integers(onnx: ModuleType, model: Any, input_type: str) -> None:
    """Puts a cast and a division before the graph, whose input becomes one of integers."""
    helper, elements, graph = onnx.helper, onnx.TensorProto, model.graph
    for node in graph.node:
        node.input[:] = ["images_0_1" if name == "images" else name for name in node.input]
    nodes = [
        helper.make_node("Cast", ["images"], ["images_float"], to=elements.FLOAT),
        helper.make_node("Div", ["images_float", "largest_value"], ["images_0_1"]),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    largest = helper.make_tensor("largest_value", elements.FLOAT, [], [INPUTS[input_type]])
    graph.initializer.append(largest)
    graph.input[0].type.tensor_type.elem_type = getattr(elements, input_type.upper())
