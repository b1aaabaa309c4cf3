import json

import numpy as np
import pytest
import yaml

from acdc_seg.data.images import read_image
from acdc_seg.ensembling.candidates import open_candidates
from acdc_seg.ensembling.results import write_ensemble
from acdc_seg.ensembling.search import Estimate, Leak, SearchResult, SearchSettings, Variant
from acdc_seg.ensembling.selection import Selection
from acdc_seg.files import sha256_file
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import TTA


@pytest.fixture
def result(save_run):
    """Two of a with flips, one of the fold runs; the largest lv only. A trap was left out."""
    a, folds, trap = (
        open_candidates([save_run("a")])[0],
        open_candidates(
            [
                save_run(f"f{fold}", seed=fold + 1, **{"data.num_folds": 2, "data.fold": fold})
                for fold in (0, 1)
            ]
        )[0],
        open_candidates([save_run("trap", **{"data.validation": False})])[0],
    )
    return SearchResult(
        variants=(
            Variant(a, "none", 0.25, 0),
            Variant(a, "flips", 0.5, 2),
            Variant(folds, "none", 0.75, 1),
        ),
        keep_largest=("lv",),
        best=Selection((0, 0, 1)),
        chosen_on=Estimate(0.9, 0.8, 0.1, 0.05, 0.15),
        held_out=Estimate(0.85, 0.8, 0.05, -0.05, 0.1),
        records=a.runs[0].val,
        leaks=(Leak(trap, ("x", "y")),),
        settings=SearchSettings(),
    )


def test_the_written_ensemble_is_the_weighted_mean_with_fold_runs_sharing_theirs(result, tmp_path):
    folder = tmp_path / "ensembles" / "mine"
    write_ensemble(folder, result)
    written = yaml.safe_load((folder / "ensemble.yaml").read_text())
    for member in written["members"]:
        checkpoint = folder / member["path"] / "best.pt"
        assert member.pop("sha256") == sha256_file(checkpoint)
    assert written == {
        "classes": ["background", "rv", "myo", "lv"],
        "members": [
            {"path": "../../runs/a", "weight": 2.0, "tta": "flips"},
            {"path": "../../runs/f0", "weight": 0.5, "tta": "none"},
            {"path": "../../runs/f1", "weight": 0.5, "tta": "none"},
        ],
        "keep_largest": ["lv"],
    }
    (folder / "ensemble.yaml").write_text(yaml.safe_dump({**written, "keep_largest": []}))
    a, first, second = (
        load_predictor(tmp_path / "runs" / name, device="cpu") for name in ("a", "f0", "f1")
    )
    image = read_image(result.records[0].image)
    expected = (2 * TTA(a, views="flips")(image) + 0.5 * first(image) + 0.5 * second(image)) / 3
    for path in (folder, folder / "ensemble.yaml", str(folder)):
        np.testing.assert_allclose(load_predictor(path, device="cpu")(image), expected, atol=1e-6)


def test_the_report_tells_how_it_was_chosen(result, tmp_path):
    write_ensemble(tmp_path / "out", result)
    report = json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert [
        (each["name"], each["tta"], each["dice"], each["count"]) for each in report["candidates"]
    ] == [
        ("a", "none", 0.25, 0),
        ("a", "flips", 0.5, 2),
        ("f", "none", 0.75, 1),
    ]
    assert [run["path"] for run in report["candidates"][2]["runs"]] == ["../runs/f0", "../runs/f1"]
    assert report["best_member"] == {"candidate": 2, "keep_largest": []}
    assert report["excluded"] == [{"name": "trap", "num_leaked_images": 2, "first": "x"}]
    assert report["chosen_on"]["difference"] == 0.1
    assert report["held_out"] == {
        "patient_folds": 2,
        "ensemble": 0.85,
        "best_member": 0.8,
        "difference": 0.05,
        "low": -0.05,
        "high": 0.1,
    }
    assert len(report["images"]) == 4
    assert "scores 1" in report["statistic"]
