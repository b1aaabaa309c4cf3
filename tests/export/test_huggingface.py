"""A folder for the Hugging Face Hub is a model with equal outputs, and says what it is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from acdc_seg.config import ClassesConfig, Config, DataConfig
from acdc_seg.config.models import DeepLabDRNConfig
from acdc_seg.errors import CheckpointError, ConfigError, DataError
from acdc_seg.export.huggingface import export_huggingface
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import TTA
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from acdc_seg.runs.published import load_published, without_names
from acdc_seg.runs.trained_on import TrainedOn

CONFIG = Config(name="secret", data=DataConfig(path="/home/secret/hearts", image_dir="secret"))
SEEN = TrainedOn("/home/secret/hearts", "/home/secret/cut", ("secret01",), ("ab" * 32,))
METRICS = {
    "protocol": {"split": "val"},
    "headline": {"n": 20, "num_patients": 3},
    "dice": 0.875,
    "iou": 0.75,
    "hd95": 3.5,
    "classes": {"rv": {"dice_mean": 0.8125}, "lv": {"dice_mean": 0.9375}},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of a fresh network, channels last as training leaves it, and made-up scores."""
    torch.manual_seed(0)
    section = CONFIG.model.model_copy(update={"depth": 2, "base_channels": 4})
    network = create_model("unet", 1, 4, depth=2, base_channels=4)
    network = network.to(memory_format=torch.channels_last)
    config = CONFIG.model_copy(update={"model": section})
    checkpoint = Checkpoint(config, network.state_dict(), 3, 0.875, "paired", {"steps": 4}, (SEEN,))
    save_checkpoint(tmp_path / "run" / "best.pt", checkpoint)
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(METRICS))
    return tmp_path / "run"


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    predictor = load_predictor(run, device="cpu")
    export_huggingface(predictor, tmp_path / "hub", license="CC-BY-NC-SA-4.0")
    return tmp_path / "hub"


def read_head(folder: Path) -> dict:
    _, head, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head)


def test_the_folder_is_a_model_with_equal_outputs(run, folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    image = np.random.default_rng(0).random((50, 67), np.float32)
    loaded = load_predictor(folder, device="cpu")
    expected = load_predictor(run, device="cpu")(image)
    np.testing.assert_array_equal(loaded(image), expected)
    np.testing.assert_array_equal(load_predictor(folder / "model.safetensors")(image), expected)
    assert loaded.classes == ClassesConfig()
    assert loaded.origins[0].trained_on[0].images == SEEN.images


def test_no_path_and_no_name_of_a_patient_is_published(folder):
    for path in folder.iterdir():
        assert b"secret" not in path.read_bytes()
    checkpoint = load_published(folder / "model.safetensors")
    assert (checkpoint.epoch, checkpoint.dice, checkpoint.data) == (3, 0.875, "paired")
    assert checkpoint.trained_on == (TrainedOn("hearts", "", (), SEEN.images),)


def test_pretrained_weights_of_a_file_are_no_setting_to_publish():
    model = DeepLabDRNConfig(pretrained="/home/secret/a.pt", freeze_encoder=2)
    checkpoint = Checkpoint(CONFIG.model_copy(update={"model": model}), {}, 1, None, "paired")
    assert without_names(checkpoint).config.model == DeepLabDRNConfig()
    public = DeepLabDRNConfig(pretrained="imagenet", freeze_encoder=2)
    checkpoint = replace(checkpoint, config=CONFIG.model_copy(update={"model": public}))
    assert without_names(checkpoint).config.model == public


def test_the_head_of_the_card_is_what_the_hub_reads(folder):
    head = read_head(folder)
    assert head["license"] == "cc-by-nc-sa-4.0"
    assert (head["library_name"], head["pipeline_tag"]) == ("acdc_seg", "image-segmentation")
    assert {"cardiac-mri", "unet"} <= set(head["tags"])
    (result,) = head["model-index"][0]["results"]
    found = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert found == {"dice": 0.875, "iou": 0.75, "hd95": 3.5}


def test_the_card_has_scores_and_terms(folder):
    card = (folder / "README.md").read_text()
    assert "| rv | 0.8125 |" in card
    assert "Of 20 images of 3 patients (val)" in card
    assert "Weights: CC-BY-NC-SA-4.0." in card
    assert "| Training images | 1 of hearts |" in card
    assert "| Epochs | 3 of 100, 16 images in a batch |" in card


def test_a_run_without_scores_and_terms_says_so(run, tmp_path):
    (run / "metrics.json").write_text("[]")
    export_huggingface(load_predictor(run), tmp_path / "hub")
    head = read_head(tmp_path / "hub")
    assert (head["license"], head["license_name"]) == ("other", "not-stated")
    assert "model-index" not in head
    assert "best validation Dice 0.8750 during" in (tmp_path / "hub" / "README.md").read_text()


def test_other_weights_than_those_of_the_config_are_refused(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is not the file of config\.json beside it"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged; copy it again"),
        ('{"model_type": "bert"}', "is not of acdc_seg; give a folder of acdc-export"),
        (None, "cannot read it"),
    ],
)
def test_configs_of_other_programs(folder, text, message):
    path = folder / "config.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder / "model.safetensors")


def test_formats_of_other_versions(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(CheckpointError, match="has format 99, this version reads 1"):
        load_predictor(folder)


def test_one_model_goes_into_a_new_folder(run, folder, tmp_path):
    predictor = load_predictor(run)
    with pytest.raises(ConfigError, match="takes one model, not TTA"):
        export_huggingface(TTA(predictor), tmp_path / "other")
    with pytest.raises(DataError, match="exists already"):
        export_huggingface(predictor, folder)
