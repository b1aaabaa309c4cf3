import re

import cv2
import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, load_config
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.inference.load import load_members, load_predictor, read_settings
from acdc_seg.inference.postprocess import KeepLargest, keep_largest
from acdc_seg.inference.predictors import TTA, ModelPredictor
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

CONFIG = load_config(overrides=["model.depth=2", "model.base_channels=4"])
CLASSES = ClassesConfig()


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    network = create_model("unet", 1, 4, depth=2, base_channels=4)
    return ModelPredictor(network, CONFIG, device=torch.device("cpu"), precision="fp32")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 40), np.uint8)


@pytest.fixture
def run_folder(tmp_path, predictor):
    save_checkpoint(
        tmp_path / "best.pt",
        Checkpoint(
            config=CONFIG, weights=predictor.model.state_dict(), epoch=1, dice=0.5, data="paired"
        ),
    )
    return tmp_path


def test_predictors_load_from_run_folders_and_files(run_folder, predictor, image):
    for path in (run_folder, run_folder / "best.pt", str(run_folder)):
        loaded = load_predictor(path, device="cpu", precision="fp32")
        np.testing.assert_array_equal(loaded(image), predictor(image))
        assert (loaded.classes, loaded.channels, loaded.config) == (CLASSES, 1, CONFIG)


def test_what_cannot_be_loaded_is_named(run_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        CheckpointError, match=r"empty: no best\.pt in this folder; give a folder that acdc-train"
    ):
        load_predictor(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="gone: cannot read the checkpoint"):
        load_predictor(tmp_path / "gone")
    with pytest.raises(ConfigError, match="device 'gpu' is unknown"):
        load_predictor(run_folder, device="gpu")


@pytest.mark.parametrize(
    "change", [{"head.weight": torch.zeros(5, 4, 1, 1)}, {"extra": torch.zeros(1)}]
)
def test_weights_that_do_not_fit_are_refused(run_folder, change):
    path = run_folder / "best.pt"
    checkpoint = load_checkpoint(path)
    save_checkpoint(
        path,
        Checkpoint(
            config=checkpoint.config,
            weights={**checkpoint.weights, **change},
            epoch=1,
            dice=0.5,
            data="paired",
        ),
    )
    with pytest.raises(
        CheckpointError, match=r"best\.pt: weights do not fit their config: .*(head\.weight|extra)"
    ):
        load_predictor(path)


@pytest.fixture
def ensemble_folder(run_folder, predictor):
    """Three parts of the run with flips, one of it as it is; class lv in one region."""
    text = """classes: [background, rv, myo, lv]
members:
- {path: .., weight: 3, tta: flips}
- {path: ../best.pt}
keep_largest: [lv]
"""
    (run_folder / "both").mkdir()
    (run_folder / "both" / "ensemble.yaml").write_text(text)
    return run_folder / "both"


def test_an_ensemble_loads_like_a_model(ensemble_folder, predictor, image):
    expected = keep_largest((3 * TTA(predictor, views="flips")(image) + predictor(image)) / 4, [3])
    for path in (ensemble_folder, ensemble_folder / "ensemble.yaml"):
        loaded = load_predictor(path, device="cpu", precision="fp32")
        np.testing.assert_allclose(loaded(image), expected, atol=1e-6)
        assert (loaded.classes, loaded.channels, loaded.config) == (CLASSES, 1, CONFIG)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "lv]\nmembers",
            "left]\nmembers",
            "the ensemble is of background, rv, myo, left, its member .* of background, rv, myo, "
            "lv",
        ),
        (
            "keep_largest: [lv]",
            "keep_largest: [rvv]",
            r"ensemble\.yaml: keep_largest names 'rvv'; choose from the foreground classes",
        ),
        (
            "weight: 3",
            "weight: 0",
            r"not an ensemble as acdc-ensemble writes it: members\.0\.weight: Input should be "
            r"greater than 0",
        ),
        (
            "tta: flips",
            "tta: turns",
            r"members\.0\.tta: Input should be 'none', 'flips' or 'dihedral'",
        ),
        ("keep_largest", "keep_smallest", "keep_smallest: Extra inputs are not permitted"),
        ("members:", "members: [", "this is not YAML"),
        (
            "path: ..,",
            "path: !!python/name:os.system ,",
            "this is not YAML: could not determine a constructor",
        ),
    ],
)
def test_ill_ensemble_files_are_refused(ensemble_folder, old, new, message):
    path = ensemble_folder / "ensemble.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_predictor(path)


def test_missing_parts_of_an_ensemble_are_named(ensemble_folder):
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot read this ensemble"):
        load_predictor(ensemble_folder / "gone.yaml")
    (ensemble_folder.parent / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"no best\.pt in this folder"):
        load_predictor(ensemble_folder)


def test_largest_regions_are_kept_after_an_outer_augmentation(ensemble_folder, image):
    def regions(predictor):
        lv = (predictor(image).argmax(0) == 3).astype(np.uint8)
        return cv2.connectedComponents(lv, connectivity=8)[0] - 1

    text = (ensemble_folder / "ensemble.yaml").read_text()
    (ensemble_folder / "ensemble.yaml").write_text(re.sub("keep_largest:.*", "", text))
    plain = load_members([ensemble_folder], tta="dihedral", device="cpu", precision="fp32")
    (ensemble_folder / "ensemble.yaml").write_text(
        re.sub("keep_largest:.*", "", text).rstrip() + "\nkeep_largest: [lv]\n"
    )
    predictor = load_members([ensemble_folder], tta="dihedral", device="cpu", precision="fp32")
    assert regions(plain) > 1
    assert regions(predictor) == 1
    np.testing.assert_allclose(predictor(image), keep_largest(plain(image), [3]), atol=1e-6)
    several = load_members([ensemble_folder, ensemble_folder.parent], device="cpu")
    assert isinstance(several, KeepLargest)


def test_the_settings_of_reading_can_be_changed(run_folder):
    predictor = load_members([run_folder], overrides=["classes.values=[0,3,2,1]"], device="cpu")
    assert predictor.classes.values == predictor.config.classes.values == (0, 3, 2, 1)
    assert read_settings(run_folder, ["data.mask_dir=seg"]).data.mask_dir == "seg"
    for override in ("data.size=[32,32]", "data.path=x", "train.epochs=3"):
        with pytest.raises(ConfigError, match=override.partition("=")[0]):
            load_members([run_folder], overrides=[override], device="cpu")
