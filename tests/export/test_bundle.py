"""A MONAI bundle passes MONAI's own checks and gives the labels of acdc-predict."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nibabel as nib
import numpy as np
import pytest
import torch
from volumes import GREY, make_cine, make_labels, save

from acdc_seg.config import Config, PrepareConfig, TrainConfig
from acdc_seg.config.models import UNetConfig
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.export.bundle import export_bundle
from acdc_seg.inference.api import predict_volume
from acdc_seg.inference.bundle import VolumeInferer
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import Ensemble
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import Checkpoint, save_checkpoint

pytest.importorskip("ignite", reason="pip install 'acdc_seg[bundle]'")
pytest.importorskip("jsonschema", reason="pip install 'acdc_seg[bundle]'")

REQUIRED = (
    *("version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
)
"""Mandatory in MONAI's specification of bundles."""
TENSOR = {
    "type": "object",
    "properties": {
        "type": {"enum": ["image"]},
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": {"enum": ["float32"]},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
    "required": ["type", "num_channels", "spatial_shape", "dtype", "channel_def"],
}
SCHEMA = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in REQUIRED[:4] + REQUIRED[5:9]},
        "version": {"pattern": r"^\d+\.\d+\.\d+$"},
        "required_packages_version": {
            "type": "object",
            "additionalProperties": {"type": "string"},
        },
        "network_data_format": {
            "type": "object",
            "properties": {
                "inputs": {"properties": {"image": TENSOR}, "required": ["image"]},
                "outputs": {"properties": {"pred": TENSOR}, "required": ["pred"]},
            },
            "required": ["inputs", "outputs"],
        },
    },
    "required": list(REQUIRED),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a fresh network of crops around the heart."""
    torch.manual_seed(0)
    network = create_model("unet", 1, 4, depth=2, base_channels=4)
    config = Config(
        model=UNetConfig(depth=2, base_channels=4),
        prepare=PrepareConfig(spacing=1.5, size=(32, 32)),
        train=TrainConfig(precision="fp32"),
    )
    folder = tmp_path_factory.mktemp("run")
    save_checkpoint(folder / "best.pt", Checkpoint(config, network.state_dict(), 3, 0.5, "acdc"))
    return folder


@pytest.fixture
def bundle(run: Path, tmp_path: Path) -> Path:
    export_bundle(load_predictor(run, device="cpu"), tmp_path / "bundle", license="CC0-1.0")
    return tmp_path / "bundle"


@pytest.fixture
def schema_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine, for verify_metadata reads its schema from an address."""
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/schema.json"
        server.shutdown()


def configs(bundle: Path) -> dict[str, str]:
    """Arguments that name both files."""
    return {
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "config_file": str(bundle / "configs" / "inference.json"),
    }


def set_schema(bundle: Path, url: str) -> None:
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": url}))


def write_images(folder: Path) -> list[Path]:
    """A volume, a cine, a volume whose axes are in another order, and one as ACDC's, whose affine
    was never filled in.
    """
    labels = make_labels(6, num_slices=3)
    turned = np.array([[0, 0, 1.5, 0], [8.0, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1]])
    plain = nib.Nifti1Image(GREY[labels], np.eye(4))
    plain.header.set_zooms((1.2, 1.2, 8.0))
    paths = [
        save(folder / "case.nii.gz", labels),
        save(folder / "cine.nii.gz", make_cine(2)),
        save(folder / "turned.nii.gz", labels.transpose(2, 0, 1), turned),
        folder / "acdc.nii",
    ]
    nib.save(plain, paths[-1])
    return paths


def test_its_files(bundle):
    found = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert found == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.pt",
    }
    assert (bundle / "LICENSE").read_text().startswith("Weights (models/model.pt): CC0-1.0.")
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    create_model("unet", 1, 4, depth=2, base_channels=4).load_state_dict(weights)
    meta = json.loads((bundle / "configs" / "metadata.json").read_text())
    output = meta["network_data_format"]["outputs"]["pred"]
    assert output["spatial_shape"] == [32, 32]
    assert output["channel_def"] == {"0": "background", "1": "rv", "2": "myo", "3": "lv"}


def test_its_labels_are_those_of_acdc_predict(bundle, run, tmp_path):
    from monai.bundle import run as run_bundle

    paths = write_images(tmp_path / "in")
    run_bundle(
        config_file=configs(bundle)["config_file"],
        bundle_root=str(bundle),
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )
    for path in paths:
        expected = predict_volume(path, model=run, device="cpu")
        written = nib.load(tmp_path / "out" / f"{path.name.split('.')[0]}_seg.nii.gz")
        assert written.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(written.dataobj), expected)
        zooms = nib.load(path).header.get_zooms()[:3]
        np.testing.assert_allclose(written.header.get_zooms()[:3], zooms)
    assert len(np.unique(expected)) > 1
    turned = nib.load(tmp_path / "out" / "turned_seg.nii.gz")
    np.testing.assert_allclose(turned.affine, nib.load(paths[2]).affine)


def test_monai_verifies_metadata_and_network(bundle, schema_url, tmp_path):
    from monai.bundle import verify_metadata, verify_net_in_out

    set_schema(bundle, schema_url)
    meta_file = configs(bundle)["meta_file"]
    verify_metadata(meta_file=meta_file, filepath=tmp_path / "fetched.json")
    verify_net_in_out("network_def", **configs(bundle), device="cpu")
    content = json.loads(Path(meta_file).read_text())
    content["network_data_format"]["outputs"]["pred"]["num_channels"] = 5
    Path(meta_file).write_text(json.dumps({**content, "version": "new"}))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=meta_file, filepath=tmp_path / "fetched.json")
    with pytest.raises(ValueError, match=r"channel number `4` doesn't match: `5`"):
        verify_net_in_out("network_def", **configs(bundle), device="cpu")


def test_it_has_what_programs_ask_of_a_bundle(bundle):
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(workflow_type="infer", logging_file=False, **configs(bundle))
    workflow.initialize()
    assert not workflow.check_properties()
    assert workflow.version == "0.1.0"


@pytest.mark.slow
def test_the_commands_of_monai(bundle, schema_url, tmp_path):
    set_schema(bundle, schema_url)
    save(tmp_path / "in" / "case.nii.gz", make_labels(6, num_slices=2))
    meta, config = (f"--{name}={path}" for name, path in configs(bundle).items())
    for arguments in (
        ("verify_metadata", meta, f"--filepath={tmp_path / 'fetched.json'}"),
        ("verify_net_in_out", "network_def", meta, config, "--device=cpu"),
        ("run", config, f"--bundle_root={bundle}", f"--dataset_dir={tmp_path / 'in'}"),
    ):
        command = [sys.executable, "-m", "monai.bundle", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr
    assert (bundle / "eval" / "case_seg.nii.gz").is_file()


def test_an_ensemble_has_no_bundle(run, tmp_path):
    predictor = load_predictor(run, device="cpu")
    with pytest.raises(ConfigError, match="--format bundle takes one model, not Ensemble"):
        export_bundle(Ensemble([predictor, predictor]), tmp_path / "bundle")


def test_the_inferer_needs_the_grid_of_the_image():
    inferer = VolumeInferer({"prepare": {"spacing": 1.5}})
    with pytest.raises(DataError, match=r"expected a MetaTensor \(B, C, X, Y, Z\)"):
        inferer(torch.zeros(1, 1, 8, 8, 2), torch.nn.Identity())
