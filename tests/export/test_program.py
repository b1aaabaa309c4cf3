"""A file of torch.export predicts what the predictor does, without our Python code."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from acdc_seg.config import Config, DataConfig
from acdc_seg.config.models import UNetConfig
from acdc_seg.errors import ConfigError
from acdc_seg.export.program import export_program
from acdc_seg.inference.predictors import TTA, ModelPredictor
from acdc_seg.models import create_model

LOAD = """
import sys, numpy, torch
program = torch.export.load(sys.argv[1]).module()
images = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], program(images).detach().numpy())
assert not any(name.startswith(("acdc_seg", "monai")) for name in sys.modules)
"""


def make_predictor() -> ModelPredictor:
    torch.manual_seed(0)
    network = create_model("unet", 1, 4, depth=2, base_channels=4)
    config = Config(
        model=UNetConfig(depth=2, base_channels=4), data=DataConfig(size=(48, 48), fit="resize")
    )
    return ModelPredictor(network, config, device=torch.device("cpu"), precision="fp32")


@pytest.mark.slow
def test_the_file_needs_pytorch_alone(tmp_path):
    predictor = TTA(make_predictor(), views="flips")
    path, before, after = (tmp_path / name for name in ("m.pt2", "in.npy", "out.npy"))
    shape, difference = export_program(predictor, path, size=(40, 52), license="CC0-1.0")
    assert shape == (40, 52)
    assert difference <= 1e-4
    images = np.random.default_rng(0).random((5, 1, 40, 52), np.float32)
    np.save(before, images)
    command = [sys.executable, "-c", LOAD, path, before, after]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    expected = predictor.predict_batch(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(np.load(after), expected, atol=1e-4)
    about = {"acdc_seg.json": ""}
    torch.export.load(path, extra_files=about)
    stored = json.loads(about["acdc_seg.json"])
    assert stored["license"] == "CC0-1.0"
    assert json.loads(stored["images"])["size"] == [40, 52]


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("a branch on data\nmore")

    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(
        ConfigError, match=r"cannot be exported by torch\.export: a branch on data$"
    ):
        export_program(make_predictor(), tmp_path / "m.pt2")
    low = make_predictor()
    low.precision = "bf16"
    with pytest.raises(ConfigError, match="on cpu in bf16; load it with device='cpu'"):
        export_program(low, tmp_path / "m.pt2")
