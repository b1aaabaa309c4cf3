import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acdc_seg.config import with_overrides
from acdc_seg.data.images import read_image, read_mask
from acdc_seg.inference.load import load_predictor
from acdc_seg.runs.checkpoint import load_checkpoint, save_checkpoint


def read_scores(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())


def test_scores_of_the_validation_images_are_those_of_the_training(command, trained):
    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    outcome = command("evaluate", trained)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("paired data, split val: 1 patients\n")
    assert outcome.out.endswith(f"Wrote {trained}/val/metrics.csv and metrics.json\n")
    assert "A class that is empty in truth and prediction scores 1" in outcome.out
    for name in ("metrics.csv", "metrics.json"):
        assert (trained / "val" / name).read_bytes() == before[name]
    assert {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before


def test_test_split_by_hand(command, trained, paired_folder):
    assert command("evaluate", trained, "--split", "test").code == 0
    predictor = load_predictor(trained, device="cpu", precision="fp32")
    expected = {}
    for stem in ("patient004_0", "patient004_1"):
        predicted = predictor(read_image(paired_folder / "test/image" / f"{stem}.png")).argmax(0)
        truth = read_mask(paired_folder / "test/mask" / f"{stem}_mask.png", predictor.classes)
        expected[stem] = [dice(predicted == index, truth == index) for index in (1, 2, 3)]
    scores = read_scores(trained / "test")
    assert scores["n"] == 2
    assert scores["dice"] == pytest.approx(np.mean(list(expected.values())))
    with (trained / "test" / "metrics.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == list(expected)


def test_one_run_is_the_ensemble_of_itself_and_weights_may_be_zero(command, trained):
    assert command("evaluate", trained, "--out", "one", "--split", "test").code == 0
    twice = (trained, trained / "best.pt", "--split", "test")
    assert command("evaluate", *twice, "--out", "two").code == 0
    assert command("evaluate", *twice, "--out", "weighted", "--weights", "0,1").code == 0
    assert read_scores(Path("two"))["images"] == read_scores(Path("one"))["images"]
    assert read_scores(Path("weighted"))["images"] == read_scores(Path("one"))["images"]


def test_the_folds_of_a_run_are_not_those_of_other_data(command, tiny, paired_folder):
    assert (
        command(
            "train",
            "--data",
            paired_folder,
            *tiny,
            "--epochs",
            1,
            "--folds",
            3,
            "--fold",
            1,
            "--name",
            "fold",
        ).code
        == 0
    )
    assert command("evaluate", "runs/fold").code == 0
    own = {image["id"] for image in read_scores(Path("runs/fold/val"))["images"]}
    assert command("evaluate", "runs/fold", "--data", paired_folder, "--out", "other").code == 0
    assert (
        {image["id"] for image in read_scores(Path("other"))["images"]}
        == {"patient003_0", "patient003_1"}
        != own
    )


@pytest.mark.parametrize("views", ["flips", "dihedral"])
def test_augmentation_changes_the_scores_and_batch_size_does_not(command, trained, views):
    assert command("evaluate", trained, "--out", "plain").code == 0
    assert command("evaluate", trained, "--out", "one", "--tta", views, "--batch-size", 1).code == 0
    assert command("evaluate", trained, "--out", "all", "--tta", views).code == 0
    assert read_scores(Path("one")) == read_scores(Path("all"))
    assert read_scores(Path("one"))["dice"] != read_scores(Path("plain"))["dice"]


def test_other_data_and_a_checkpoint_file(command, trained, paired_folder):
    (trained / "last.pt").rename("moved.pt")
    outcome = command("evaluate", "moved.pt", "--data", paired_folder, "--split", "train")
    assert outcome.code == 0
    assert outcome.out.startswith("paired data, split train: 2 patients\n")
    assert read_scores(Path("train"))["n"] == 4


@pytest.mark.parametrize(
    ("trained_in", "asked", "taken"),
    [("fp32", "auto", "fp32"), ("bf16", "auto", "auto"), ("fp32", "bf16", "bf16")],
)
def test_precision_is_the_runs_unless_asked_for(
    command, trained, monkeypatch, trained_in, asked, taken
):
    checkpoint = load_checkpoint(trained / "best.pt")
    config = with_overrides(checkpoint.config, {"train.precision": trained_in})
    save_checkpoint(trained / "best.pt", replace(checkpoint, config=config))
    given = []
    monkeypatch.setattr(
        "acdc_seg.inference.load.resolve_precision",
        lambda name, device: given.append(name) or "fp32",
    )
    assert command("evaluate", trained, "--precision", asked).code == 0
    assert given == [taken]


def test_empty_split_names_the_others(command, trained, hearts, write_png):
    for number, (image, mask) in enumerate(hearts[:4]):
        write_png(Path(f"few/image/patient00{number}_0.png"), image)
        write_png(Path(f"few/mask/patient00{number}_0_mask.png"), mask)
    outcome = command("evaluate", trained, "--data", "few", "--split", "test")
    assert outcome.code == 2
    assert outcome.err.endswith(
        "few: there are no images in split 'test'; choose from: train, val\n"
    )
