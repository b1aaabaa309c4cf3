"""8-bit files: what is in them, and that they predict nearly what they were made from."""

import json

import numpy as np
import pytest
import torch

from acdc_seg.config import Config, DataConfig
from acdc_seg.errors import ConfigError
from acdc_seg.export.graph import export_onnx
from acdc_seg.export.parity import make_images
from acdc_seg.export.quantize import quantize_onnx, record_inputs
from acdc_seg.inference.onnx import OnnxPredictor
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.models import create_model

onnx = pytest.importorskip("onnx", reason="pip install 'acdc_seg[onnx]'")
OPTIONS = {
    "unet": {"depth": 2, "base_channels": 8},
    "setr": {"patch_size": 4, "hidden_size": 12, "num_layers": 1, "num_heads": 2},
}
IMAGES = [batch.astype(np.float32) for batch in make_images(1, sizes=((40, 48),))]


@pytest.fixture
def export(tmp_path):
    def export(name="unet", volumes=False, **data):
        torch.manual_seed(0)
        network = create_model(name, 1, 4, **OPTIONS[name])
        predictor = ModelPredictor(
            network, Config(data=DataConfig(**data)), device=torch.device("cpu"), precision="fp32"
        )
        export_onnx(predictor, tmp_path / "m.onnx", volumes=volumes, license="CC0-1.0")
        return tmp_path / "m.onnx"

    return export


def operations(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def test_convolutions_are_quantized_and_predict_nearly_the_same(export, tmp_path):
    path, out = export(), tmp_path / "int8.onnx"
    quantize_onnx(path, out, IMAGES)
    assert {"QuantizeLinear", "DequantizeLinear"} <= operations(out)
    weights = [each for each in onnx.load(out).graph.initializer if each.data_type == 3]  # int8
    assert {tuple(each.dims) for each in weights} >= {(8, 1, 3, 3), (16, 8, 3, 3)}
    expected, found = (OnnxPredictor(file).predict_arrays(IMAGES[0]) for file in (path, out))
    assert 0 < np.abs(found - expected).max() < 0.1
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.95
    # sizes that were not seen are free still
    assert OnnxPredictor(out).predict_arrays(np.zeros((1, 1, 33, 50), np.float32)).shape[2] == 33


def test_metadata_says_how_it_was_made(export, tmp_path):
    path, out = export(), tmp_path / "int8.onnx"
    before = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    quantize_onnx(path, path, IMAGES)
    after = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(after.pop("int8")) == {
        "kind": "static",
        "weights": "int8, per channel",
        "images": 1,
    }
    assert after == before
    assert not out.exists()


def test_attention_gets_8_bit_weights_alone(export, tmp_path):
    path, out = export("setr"), tmp_path / "int8.onnx"
    quantize_onnx(path, out, [], is_dynamic=True)
    assert "MatMulInteger" in operations(out)
    expected, found = (OnnxPredictor(file).predict_arrays(IMAGES[0]) for file in (path, out))
    assert 0 < np.abs(found - expected).max() < 0.1


def test_images_are_normalized_and_cut_as_in_prediction(export):
    path = export(volumes=True, normalize="per_image", size=(32, 32), fit="crop")
    inputs = [each["images"] for each in record_inputs(path, IMAGES)]
    assert {each.shape[2:] for each in inputs} == {(32, 32)}
    assert min(each.min() for each in inputs) < -1  # not in 0..1 any more


def test_there_must_be_an_image(export, tmp_path):
    with pytest.raises(ConfigError, match="int8: there is no image to calibrate with"):
        quantize_onnx(export(), tmp_path / "int8.onnx", [])
    assert not (tmp_path / "int8.onnx").exists()
