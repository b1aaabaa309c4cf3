"""The model that comes with the package."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from acdc_seg.data.exams import find_exams
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.shipped import FOLDER, find_model, shipped_models
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.prediction.case import Outputs
from acdc_seg.prediction.run import predict_exams


def test_its_size_licence_and_card():
    assert list(shipped_models()) == ["acdc_volumes"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "CC BY-NC-SA 4.0" in card
    assert "10.1109/TMI.2018.2837502" in card


def test_it_holds_no_path_of_its_training():
    predictor = load_predictor(find_model(), device="cpu", precision="fp32")
    parts = predictor.origins[0].trained_on
    assert [part.data for part in parts] == ["ACDC", "ACDC, synthetic hearts"]
    assert [len(part.patients) for part in parts] == [60, 80]
    assert {part.root for part in parts} == {""}
    assert predictor.config.data.path is None
    assert predictor.config.train.start_from is None
    assert predictor.config.prepare.crop == "none"


@pytest.fixture(scope="module")
def heart_beat(tmp_path_factory):
    """A synthetic heart's frames at ED, on the way and at ES as one cine, and its LVEF."""
    root = tmp_path_factory.mktemp("phantom")
    synthesize(root / "tree", num_patients=1, num_test_patients=0, cine=True)
    folder = root / "tree/training/patient001"
    lines = (folder / "Info.cfg").read_text().splitlines()
    info = dict(line.split(": ") for line in lines)
    ed, es = int(info["ED"]) - 1, int(info["ES"]) - 1
    cine = nib.load(folder / "patient001_4d.nii.gz")
    frames = np.asarray(cine.dataobj)[..., [ed, (ed + es) // 2, es, es + 4]]
    nib.save(nib.Nifti1Image(frames, cine.affine, cine.header), root / "beat.nii.gz")
    volumes = [
        (np.asarray(nib.load(folder / f"patient001_frame{frame + 1:02d}_gt.nii.gz").dataobj) == 3)
        for frame in (ed, es)
    ]
    return root / "beat.nii.gz", 100 * (1 - volumes[1].sum() / volumes[0].sum())


def test_a_synthetic_heart_beat(heart_beat: tuple[Path, float], tmp_path: Path):
    path, ejection_fraction = heart_beat
    predictor = VolumePredictor(load_predictor(find_model(), device="cpu", precision="auto"))
    (case,) = predict_exams(find_exams([path]), predictor, tmp_path, outputs=Outputs())
    measured = case["measurements"]
    assert (measured["ed"], measured["es"]) == (0, 2)
    assert abs(measured["values"]["LVEF"] - ejection_fraction) < 10
    np.testing.assert_array_equal(
        nib.load(tmp_path / "beat_seg.nii.gz").affine, nib.load(path).affine
    )
    json.dumps(case)
