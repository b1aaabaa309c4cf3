"""Exported files predict what PyTorch predicts, at any size."""

import json

import numpy as np
import pytest
import torch

from acdc_seg.config import (
    MODEL_SECTIONS,
    ClassesConfig,
    Config,
    DataConfig,
    LossConfig,
    PrepareConfig,
)
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.export.graph import example_size, export_onnx
from acdc_seg.export.parity import compare, make_images
from acdc_seg.inference.onnx import open_session
from acdc_seg.inference.postprocess import KeepLargest
from acdc_seg.inference.predictors import TTA, Ensemble, ModelPredictor
from acdc_seg.models import create_model

onnx = pytest.importorskip("onnx", reason="pip install 'acdc_seg[onnx]'")
CPU = torch.device("cpu")
SMALL = {
    "unet": {"base_channels": 4},
    "fcn8s": {"fc_channels": 16},
    "fcn16s": {"fc_channels": 16},
    "fcn32s": {"fc_channels": 16},
    "effunet": {"variant": "b0", "drop_connect": 0.0},
    "swin_unet": {"feature_size": 12},
    "setr": {"patch_size": 4, "hidden_size": 12, "num_layers": 1, "num_heads": 2},
    "dynunet": {"base_channels": 4},
}
IN_SUITE = ("unet", "enet", "setr", "dynunet")
"""One light network per kind of layers; all are in the slow suite."""
ODD_SIZES = ((50, 67), (33, 41), (96, 64))


def make_predictor(name="unet", channels=1, seed=0, loss="dice_ce", **data):
    torch.manual_seed(seed)
    options = SMALL.get(name, {}) | ({"depth": 2} if name == "unet" else {})
    network = create_model(name, channels, 4, **options)
    section = MODEL_SECTIONS[name](name=name, **options)
    config = Config(
        model=section, data=DataConfig(channels=channels, **data), loss=LossConfig(name=loss)
    )
    return ModelPredictor(network, config, device=CPU, precision="fp32")


def check(predictor, path, *, sizes=ODD_SIZES, input_type="float32", **options):
    """Exports the predictor and compares the file with it."""
    export_onnx(predictor, path, input_type=input_type, **options)
    images = list(make_images(predictor.channels, sizes=sizes, input_type=input_type))
    parity = compare(path, predictor, [*images, *(image[:1] for image in images)])
    assert parity.max_difference <= 1e-4
    assert parity.equal_labels > 0.9999
    assert parity.num_pixels == 3 * sum(height * width for height, width in sizes)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in IN_SUITE else pytest.mark.slow)
        for name in MODEL_SECTIONS
    ],
)
def test_every_network_at_sizes_that_were_not_recorded(name, tmp_path):
    size = (50, 67) if name == "swin_unet" else None
    check(make_predictor(name), tmp_path / "m.onnx", sizes=[size] if size else ODD_SIZES, size=size)


@pytest.mark.parametrize("fit", ["resize", "pad", "stretch"])
def test_the_size_of_the_training_is_in_the_graph(fit, tmp_path):
    predictor = make_predictor(size=(48, 64), fit=fit, normalize="fixed")
    # 40x100: scaled to 26 rows of 64; 45x60 and 96x32 are exact; 83x71: 48 rows of 41.06 columns
    sizes = ((48, 64), (40, 100), (45, 60), (96, 32), (83, 71), (7, 9))
    check(predictor, tmp_path / "m.onnx", sizes=sizes)


def test_sizes_at_half_a_pixel_are_rounded_as_python_does(tmp_path):
    predictor = make_predictor(size=(40, 40), fit="resize")
    # 40 / 80 * 57 = 28.5 and 40 / 80 * 59 = 29.5: to the even number
    check(predictor, tmp_path / "m.onnx", sizes=((80, 57), (80, 59), (57, 80)))


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": "per_image"},
        {"normalize": "none"},
        {"normalize": "imagenet", "channels": 3},
        {"normalize": "fixed", "channels": 3, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)},
        {"loss": "bce"},
    ],
    ids=str,
)
def test_normalization_channels_and_sigmoids(options, tmp_path):
    check(make_predictor(**options), tmp_path / "m.onnx")


@pytest.mark.parametrize("input_type", ["uint8", "uint16"])
def test_integers_are_scaled_by_their_largest_value(input_type, tmp_path):
    predictor, path = make_predictor(normalize="none"), tmp_path / "m.onnx"
    check(predictor, path, input_type=input_type)
    images = np.full((1, 1, 40, 40), np.iinfo(input_type).max, input_type)
    (found,) = open_session(path).run(None, {"images": images})
    expected = predictor.predict_batch(torch.ones(1, 1, 40, 40)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_vote_with_views_and_a_color_member_is_one_graph(tmp_path):
    members = [make_predictor(), TTA(make_predictor(seed=1), views="dihedral")]
    ensemble = Ensemble([*members, make_predictor(seed=2, channels=3)], weights=[1, 2, 3])
    check(ensemble, tmp_path / "m.onnx", sizes=((50, 67),))
    names = [entry.name for entry in onnx.load(tmp_path / "m.onnx").graph.input]
    assert names == ["images"]


def test_windows_are_exported_for_whole_images(tmp_path):
    predictor = make_predictor(size=(32, 32), fit="crop")
    about = export_onnx(predictor, tmp_path / "m.onnx")
    assert json.loads(about["images"])["whole"] is True
    whole = make_predictor()
    assert compare(tmp_path / "m.onnx", whole, list(make_images(1))).holds


def test_whole_images_are_not_resized(tmp_path):
    export_onnx(make_predictor(size=(32, 32), fit="stretch"), tmp_path / "m.onnx", whole=True)
    assert compare(tmp_path / "m.onnx", make_predictor(), list(make_images(1))).holds
    other = make_predictor(size=(32, 32), fit="stretch")
    assert not compare(tmp_path / "m.onnx", other, list(make_images(1))).holds


def test_members_that_normalize_differently_are_not_for_volumes(tmp_path):
    members = Ensemble([make_predictor(), make_predictor(normalize="fixed")])
    with pytest.raises(ConfigError, match="normalize images in different ways"):
        export_onnx(members, tmp_path / "m.onnx", volumes=True)
    with pytest.raises(ConfigError, match="swin_unet takes images of one size"):
        export_onnx(make_predictor("swin_unet"), tmp_path / "m.onnx", volumes=True)


def test_metadata(tmp_path):
    predictor = make_predictor()
    predictor.config = predictor.config.model_copy(update={"prepare": PrepareConfig(spacing=1.25)})
    about = export_onnx(KeepLargest(predictor, ["lv"]), tmp_path / "m.onnx", license="CC0-1.0")
    stored = {prop.key: prop.value for prop in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert stored == about
    assert stored["license"] == "CC0-1.0"
    assert json.loads(stored["prepare"])["spacing"] == 1.25
    assert json.loads(stored["classes"])[3] == {"name": "lv", "value": 3, "color": [234, 67, 53]}
    assert json.loads(stored["images"]) == {
        "type": "float32",
        "white": 1,
        "channels": 1,
        "whole": False,
        "volumes": False,
        "data": {},
        "size": None,
    }
    assert json.loads(stored["model"])["keep_largest"] == ["lv"]
    assert tuple(label["name"] for label in json.loads(stored["classes"])) == ClassesConfig().names


def test_mistakes(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(ConfigError, match="input type 'uint9': did you mean 'uint8'"):
        export_onnx(make_predictor(), path, input_type="uint9")
    with pytest.raises(ConfigError, match=r"swin_unet is exported for one size .* --size 96x96"):
        export_onnx(make_predictor("swin_unet"), path)
    low = make_predictor()
    low.precision = "bf16"
    with pytest.raises(ConfigError, match="on cpu in bf16; load it with device='cpu'"):
        export_onnx(low, path)
    assert not path.exists()
    with pytest.raises(CheckpointError, match=r"m\.onnx: no such file"):
        open_session(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"m\.onnx: not a readable ONNX file"):
        open_session(path)


def test_recorded_sizes_are_smaller_and_of_another_shape():
    assert example_size([None]) == (45, 53)
    assert example_size([(96, 96), None, (64, 128)]) == (48, 48)
    assert example_size([(96, 96)]) == (72, 48)
