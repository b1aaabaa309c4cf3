"""quantize_onnx: a file of `export_onnx` with 8-bit weights and, where it pays, activations.

ONNX Runtime's quantization does the work. Convolutions get a scale per output channel and ranges
of their inputs from calibration images (static quantization). Networks whose work is matrix
products of attention get weights alone in 8 bits, and ranges while they run (dynamic). What is
around the network, from the size of the image to the softmax, stays in fp32.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.errors import ConfigError
from acdc_seg.export.graph import import_onnx
from acdc_seg.files import replacing
from acdc_seg.inference.onnx import OnnxPredictor

DYNAMIC = ("setr", "swin_unet")
"""Networks whose weights alone are quantized."""
CONVOLUTIONS = ["Conv", "ConvTranspose"]


class _Recorder:
    """An ONNX Runtime session that keeps what it is given."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs: list[dict[str, np.ndarray]] = []

    def run(self, outputs: Any, inputs: dict[str, np.ndarray]) -> Any:
        """As the session does."""
        self.inputs.append(inputs)
        return self.session.run(outputs, inputs)


class _Reader:
    """Calibration images as ONNX Runtime asks for them."""

    def __init__(self, batches: list[dict[str, np.ndarray]]) -> None:
        self.batches: Iterator[dict[str, np.ndarray]] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """None at the end."""
        return next(self.batches, None)


def quantize_onnx(
    path: Path, out: Path, images: Iterable[np.ndarray], *, is_dynamic: bool = False
) -> None:
    """Writes an 8-bit file of an exported one.

    Args:
        path: File of `export_onnx`.
        out: To write, may be the same.
        images: Calibration images float32 `(B, C, H, W)` in 0..1, some tens; they are normalized
            and cut to windows as in prediction. Not used where `is_dynamic`.
        is_dynamic: Quantize weights of matrix products alone.

    Raises:
        ConfigError: ONNX is not installed, or there is no calibration image.
        CheckpointError: `path` is not a file of `export_onnx`.
        DataError: The file cannot be written.
    """
    onnx = import_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batches = [] if is_dynamic else record_inputs(path, images)
    if not is_dynamic and not batches:
        raise ConfigError("int8: there is no image to calibrate with; give data with images")
    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        if is_dynamic:
            quantize_dynamic(
                str(prepared), str(made), op_types_to_quantize=["MatMul"],
                per_channel=True, weight_type=QuantType.QInt8,
            )  # fmt: skip
        else:
            _quantize_static(prepared, made, batches)
        graph = onnx.load(str(made))
    about = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    kind = "dynamic" if is_dynamic else "static"
    calibration = {"kind": kind, "weights": "int8, per channel", "images": len(batches)}
    onnx.helper.set_model_props(graph, {**about, "int8": json.dumps(calibration)})
    with replacing(out) as file:
        file.write(graph.SerializeToString())


def record_inputs(path: Path, images: Iterable[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Inputs of the graph of a file while it predicts images `(B, C, H, W)`."""
    predictor = OnnxPredictor(path, device="cpu")
    recorder = _Recorder(predictor.session)
    predictor.session = recorder
    for batch in images:
        predictor.predict_arrays(batch)
    return recorder.inputs


def _quantize_static(path: Path, out: Path, batches: list[dict[str, np.ndarray]]) -> None:
    """Weights and inputs of convolutions, as pairs of operations to and from 8 bits (QDQ)."""
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    quantize_static(
        str(path),
        str(out),
        _Reader(batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=CONVOLUTIONS,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
