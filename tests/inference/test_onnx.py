"""Files of acdc-export as predictors, and acdc-predict where there is no PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from volumes import GREY, make_labels, save

from acdc_seg import predict_volume
from acdc_seg.config import ClassesConfig, Config, DataConfig, PrepareConfig
from acdc_seg.errors import CheckpointError, ConfigError, DataError
from acdc_seg.inference.onnx import CPU, PROVIDERS, OnnxPredictor, choose_providers
from acdc_seg.inference.predictors import Ensemble, ModelPredictor
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.models import create_model

NAMES = ("format", "images", "classes", "has_background", "prepare", "model")
onnx = pytest.importorskip("onnx", reason="pip install 'acdc_seg[onnx]'")
BLOCKED = (
    *("torch", "monai", "accelerate", "albumentations", "einops", "optuna", "tensorboard"),
    *("cv2", "sklearn", "matplotlib", "psutil", "onnx"),
)
"""Packages that the environment of docs/export.md leaves out."""
WITHOUT_TORCH = f"""
import sys

BLOCKED = {BLOCKED}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Blocked())
from acdc_seg.cli.predict import main
main()
"""


def make_predictor(*, seed=0, crop="none", prepare_size=(32, 32), classes=ClassesConfig(), **data):  # noqa: B008
    torch.manual_seed(seed)
    channels = data.get("channels", 1)
    network = create_model("unet", channels, 4, depth=2, base_channels=4)
    prepare = PrepareConfig(spacing=1.25, crop=crop, size=prepare_size)
    config = Config(data=DataConfig(**data), prepare=prepare, classes=classes)
    return ModelPredictor(network, config, device=torch.device("cpu"), precision="fp32")


def export(predictor, path, **options):
    """The file of a predictor, opened."""
    from acdc_seg.export.graph import export_onnx

    export_onnx(predictor, path, **options)
    return OnnxPredictor(path)


VOLUME = GREY[make_labels(7, num_slices=3)].astype(np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize": "per_image"},  # sees whole slices
        {"normalize": "per_image", "size": (32, 32), "fit": "crop"},  # windows trained it
        {"normalize": "fixed", "crop": "heart"},  # crops around the heart did
        {"normalize": "imagenet", "channels": 3},
    ],
    ids=str,
)
def test_volumes_are_segmented_as_by_pytorch(settings, tmp_path):
    without = VolumePredictor(export(make_predictor(**settings), tmp_path / "m.onnx", volumes=True))
    found = without(VOLUME, (1.5, 1.5, 8), probabilities=True, uncertainty=True)
    expected = VolumePredictor(make_predictor(**settings))(
        VOLUME, (1.5, 1.5, 8), probabilities=True, uncertainty=True
    )
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=1e-3)
    assert (found.labels == expected.labels).mean() > 0.9999
    assert len(np.unique(expected.labels)) > 1


def test_a_vote_is_segmented_as_by_pytorch(tmp_path):
    def make_vote():
        return Ensemble([make_predictor(), make_predictor(seed=1)], weights=[1, 2])

    found = VolumePredictor(export(make_vote(), tmp_path / "m.onnx", volumes=True))
    expected = VolumePredictor(make_vote())(VOLUME, (1.5, 1.5, 8)).labels
    assert (found(VOLUME, (1.5, 1.5, 8)).labels == expected).mean() > 0.9999


def test_images_are_segmented_as_by_pytorch(tmp_path):
    predictor = make_predictor(size=(40, 48), channels=3, normalize="fixed")
    found = export(predictor, tmp_path / "m.onnx", input_type="uint8")
    image = np.random.default_rng(0).integers(0, 256, (50, 67), np.uint8)
    np.testing.assert_allclose(found(image), predictor(image), atol=1e-4)
    assert found.classes == predictor.classes
    assert found.config.prepare == predictor.config.prepare


def test_values_and_names_of_classes_come_from_the_file(tmp_path):
    classes = ClassesConfig(
        names=("none", "a", "b", "c"),
        values=(0, 10, 20, 30),
        colors=((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3)),
    )
    found = export(make_predictor(classes=classes), tmp_path / "m.onnx", volumes=True)
    assert found.classes.labels == classes.labels
    assert set(np.unique(VolumePredictor(found)(VOLUME, (1.5, 1.5, 8)).labels)) <= {0, 10, 20, 30}


def test_predict_volume_takes_a_file(tmp_path):
    export(make_predictor(), tmp_path / "m.onnx", volumes=True)
    found = predict_volume(VOLUME, spacing=(1.5, 1.5, 8), model=tmp_path / "m.onnx")
    expected = VolumePredictor(make_predictor())(VOLUME, (1.5, 1.5, 8)).labels
    assert (found == expected).mean() > 0.9999


def test_acdc_predict_runs_without_pytorch(tmp_path):
    export(make_predictor(size=(32, 32), fit="crop"), tmp_path / "m.onnx", volumes=True)
    labels = make_labels(7, num_slices=3)
    save(tmp_path / "in" / "a.nii.gz", labels)
    arguments = ["in", "--out", "out", "--model", "m.onnx"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = np.asarray(nib.load(tmp_path / "out/a_seg.nii.gz").dataobj)
    other = make_predictor(size=(32, 32), fit="crop")
    expected = VolumePredictor(other)(GREY[labels].astype(np.float32), (1.5, 1.5, 8)).labels
    assert (found == expected).mean() > 0.9999
    page = Path(tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "not installed: charts of volumes and wall thickness (matplotlib), the disease" in page
    assert "data:image/jpeg;base64," in page
    (case,) = json.loads(Path(tmp_path / "out/measurements.json").read_text())["cases"]
    assert case["measurements"]["curves"]
    assert case["diagnosis"] is None


def test_mistakes(tmp_path):
    found = export(make_predictor(), tmp_path / "m.onnx", size=(40, 48))
    with pytest.raises(ConfigError, match=r"was exported for images; .* with --volumes"):
        VolumePredictor(found)
    with pytest.raises(DataError, match=r"images of 40x40, .* takes 40x48; export it without --"):
        found(np.zeros((40, 40), np.uint8))
    with pytest.raises(DataError, match="the image has 3 channels, the model takes 1"):
        found(np.zeros((3, 40, 48), np.uint8))
    model = onnx.load(tmp_path / "m.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match=r"other\.onnx: not a file of acdc-export"):
        OnnxPredictor(tmp_path / "other.onnx")
    onnx.helper.set_model_props(model, dict.fromkeys(NAMES, "9"))
    onnx.save(model, tmp_path / "newer.onnx")
    with pytest.raises(CheckpointError, match="has format 9 of another version"):
        OnnxPredictor(tmp_path / "newer.onnx")


OPENVINO, CUDA = "OpenVINOExecutionProvider", "CUDAExecutionProvider"


def test_the_fastest_provider_that_is_installed_is_taken():
    assert choose_providers([CPU, "AzureExecutionProvider"]) == [CPU]
    assert choose_providers([CPU, CUDA, OPENVINO]) == [OPENVINO, CUDA, CPU]
    assert choose_providers([CPU, CUDA, OPENVINO], "cpu") == [CPU]
    assert choose_providers([CPU, CUDA, OPENVINO], "cuda") == [CUDA, CPU]
    with pytest.raises(ConfigError, match="device 'cuda': this ONNX Runtime has no CUDA"):
        choose_providers([CPU], "cuda")
    with pytest.raises(ConfigError, match="device 'mps': ONNX files are run on auto, cpu or cuda"):
        choose_providers([CPU], "mps")


def test_the_environment_names_providers(monkeypatch):
    monkeypatch.setenv("ACDC_SEG_ONNX_PROVIDERS", f"{CUDA}, {CPU}")
    assert choose_providers([CPU, CUDA, OPENVINO]) == [CUDA, CPU]
    monkeypatch.setenv("ACDC_SEG_ONNX_PROVIDERS", "OpenVINO")
    with pytest.raises(ConfigError, match=r"'OpenVINO' is not in this ONNX Runtime; choose from"):
        choose_providers([CPU, CUDA])


def test_a_session_gets_the_providers_with_their_options(tmp_path, monkeypatch):
    import onnxruntime

    export(make_predictor(), tmp_path / "m.onnx")
    asked, make = [], onnxruntime.InferenceSession

    def make_session(path, options, *, providers):
        asked.append(providers)
        return make(path, options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [OPENVINO, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", make_session)
    predictor = OnnxPredictor(tmp_path / "m.onnx")
    assert asked == [[(OPENVINO, PROVIDERS[OPENVINO]), (CPU, {})]]
    assert repr(predictor).endswith(f"m.onnx, {CPU})")
