import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acdc_seg.config import with_overrides
from acdc_seg.data.images import read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.data.source import open_source
from acdc_seg.files import sha256_file
from acdc_seg.inference.load import load_predictor
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.runs.checkpoint import load_checkpoint, save_checkpoint
from acdc_seg.runs.trained_on import training_images


def read_scores(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())


def test_scores_of_the_validation_images_are_those_of_the_training(command, trained):
    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    outcome = command("evaluate", trained)
    assert (outcome.code, outcome.err) == (0, "")
    data = read_scores(trained)["protocol"]["data"]
    assert outcome.out.startswith(
        f"{trained} on paired data {data}, split val, TTA none: 2 images of 1 patients\n"
    )
    assert outcome.out.endswith(f"Wrote {trained}/val/metrics.csv, patients.csv and metrics.json\n")
    assert "A class that is empty in truth and prediction scores 1" in outcome.out
    assert (trained / "val" / "metrics.csv").read_bytes() == before["metrics.csv"]
    ours, at_the_end = read_scores(trained / "val"), read_scores(trained)
    assert ours["protocol"]["members"][0].pop("path") == f"{trained}/best.pt"
    del at_the_end["protocol"]["members"][0]["path"]  # it was copied since
    assert ours == at_the_end
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
    other = ("evaluate", "runs/fold", "--data", paired_folder, "--allow-seen", "--out", "other")
    assert command(*other).code == 0
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
    outcome = command("evaluate", "moved.pt", "--data", paired_folder, "--split", "test")
    assert outcome.code == 0
    assert outcome.out.startswith(
        f"moved.pt on paired data {paired_folder}, split test, TTA none: 2 images of 1 patients\n"
    )
    assert read_scores(Path("test-hearts"))["n"] == 2


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
        "few: not divided into splits; leave --split out to take all 4 images\n"
    )
    shutil.move("few", "tree/train")
    outcome = command("evaluate", trained, "--data", "tree")
    assert (outcome.code, outcome.err) == (
        2,
        "Error: tree: there are no images in split 'val'; choose from: train\n",
    )


def test_images_that_trained_a_run_are_refused_unless_allowed(command, trained):
    outcome = command("evaluate", trained, "--split", "train")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"Error: data leakage: {trained}/best.pt was trained on 4 of the 4 images to score, or on "
        "their patients (first patient001_0); give a --split or --data that it was not trained on, "
        "or --allow-seen, which the scores then say\n"
    )
    assert not (trained / "train").exists()
    outcome = command("evaluate", trained, "--split", "train", "--allow-seen")
    assert outcome.code == 0
    assert "Data leakage: trained on 4 of these images or on their patients" in outcome.out
    protocol = read_scores(trained / "train")["protocol"]
    assert (protocol["allow_seen"], protocol["num_seen_images"]) == (True, 4)


def test_an_ensemble_is_refused_images_that_one_member_was_trained_on(
    command, trained, paired_folder
):
    (paired_folder / "val").rename(paired_folder / "held-out")
    (paired_folder / "train").rename(paired_folder / "val")
    (paired_folder / "held-out").rename(paired_folder / "train")
    config = with_overrides(load_checkpoint(trained / "best.pt").config, {"data.path": "hearts"})
    source = open_source(config.data, prepare_settings=config.prepare)
    other = shutil.copytree(trained, Path("runs/other"))
    checkpoint = load_checkpoint(trained / "best.pt")
    trained_on = (training_images(source, config.data),)
    save_checkpoint(other / "best.pt", replace(checkpoint, trained_on=trained_on))
    outcome = command("evaluate", trained, other, "--out", "both")
    assert outcome.code == 2
    assert f"{other.resolve()}/best.pt was trained on 2 of the 2 images to score" in outcome.err
    assert command("evaluate", trained, other, "--split", "test", "--out", "both").code == 0


def test_scores_of_another_protocol_are_never_replaced(command, trained):
    assert command("evaluate", trained, "--tta", "flips").code == 0
    protocol = read_scores(trained / "val-flips")["protocol"]
    assert (protocol["split"], protocol["tta"], protocol["keep_largest"]) == ("val", "flips", [])
    assert protocol["members"] == [
        {
            "path": f"{trained}/best.pt",
            "sha256": sha256_file(trained / "best.pt"),
            "weight": 1.0,
            "tta": "none",
            "precision": "fp32",
        }
    ]
    assert len(protocol["data_sha256"]) == 64
    assert protocol["versions"]["acdc_seg"]
    before = (trained / "val-flips" / "metrics.json").read_bytes()
    outcome = command("evaluate", trained, "--out", trained / "val-flips")
    assert outcome.code == 2
    assert (
        "metrics.json: holds scores of another evaluation (tta); give --out FOLDER" in outcome.err
    )
    assert (trained / "val-flips" / "metrics.json").read_bytes() == before
    assert command("evaluate", trained, "--tta", "flips").code == 0


def test_data_without_splits_is_scored_whole(command, trained, paired_folder):
    for name in ("train", "val"):
        (paired_folder / name).rename(paired_folder / f"old-{name}")
    outcome = command("evaluate", trained, "--data", paired_folder / "old-val")
    assert outcome.code == 0
    assert ", split all, TTA none: 2 images of 1 patients\n" in outcome.out
    assert read_scores(trained / "all-old-val")["n"] == 2
    outcome = command("evaluate", trained, "--data", paired_folder / "old-train")
    assert (outcome.code, "was trained on 4 of the 4 images to score" in outcome.err) == (2, True)


def test_an_unfinished_run_is_said_to_be_one(command, trained):
    run = json.loads((trained / "run.json").read_text())
    (trained / "run.json").write_text(json.dumps({**run, "status": "stopped"}))
    outcome = command("evaluate", trained)
    assert outcome.code == 0
    assert outcome.out.startswith(f"{trained} is unfinished (stopped)")


def test_several_runs_without_out_are_answered_before_anything_is_loaded(command):
    outcome = command("evaluate", "runs/a", "runs/b")
    assert outcome.code == 2
    assert "give --out FOLDER for the scores of their soft vote; to compare them" in outcome.err


def test_settings_of_the_network_cannot_be_changed(command, trained):
    outcome = command("evaluate", trained, "data.size=[32,32]")
    assert (outcome.code, outcome.err[:41]) == (2, "Error: data.size: belongs to the trained ")
    outcome = command("evaluate", trained, "classes.names=[bg,heart]", "classes.values=[0,1]")
    assert outcome.code == 2


def other_run(trained: Path) -> Path:
    """A run beside it whose weights are those of its last layer turned around."""
    other = shutil.copytree(trained, trained.with_name("other"))
    checkpoint = load_checkpoint(other / "best.pt")
    name, last = list(checkpoint.weights.items())[-2]
    save_checkpoint(
        other / "best.pt", replace(checkpoint, weights=checkpoint.weights | {name: -last})
    )
    return other


def test_two_runs_are_compared_pair_by_pair(command, trained):
    other = other_run(trained)
    outcome = command("evaluate", trained, "--versus", other, "--split", "test")
    assert (outcome.code, outcome.err) == (0, "")
    assert "\nunet versus other\n" in outcome.out
    assert outcome.out.endswith(f"Wrote {trained}/test/versus-other.csv and versus-other.json\n")
    found = json.loads((trained / "test" / "versus-other.json").read_text())
    assert command("evaluate", other, "--split", "test").code == 0
    scores = [read_scores(run / "test") for run in (trained, other)]
    for metric in ("dice", "hd95", "size_error"):
        row = found["metrics"][metric]
        assert [row["first"], row["second"]] == pytest.approx([part[metric] for part in scores])
        assert row["difference"] == pytest.approx(scores[0][metric] - scores[1][metric])
    assert found["wins"] + found["ties"] + found["losses"] == 1
    with (trained / "test" / "versus-other.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["patient"] == "patient004"
    assert float(row["dice_unet"]) == pytest.approx(scores[0]["dice"], abs=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".md", ".html"])
def test_one_table_of_many_runs_best_first(command, trained, suffix):
    runs = [trained, other_run(trained)]
    path = Path(f"models{suffix}")
    outcome = command("evaluate", *runs, "--split", "test", "--table", path)
    assert (outcome.code, outcome.err) == (0, "")
    scores = {run.name: read_scores(run / "test")["dice"] for run in runs}
    order = sorted(scores, key=lambda name: -scores[name])
    assert outcome.out.splitlines()[2].split() == ["model", *order]
    assert outcome.out.endswith(f"Wrote {path}\n")
    text = path.read_text()
    if suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["model"] for row in rows] == order
        assert [float(row["dice"]) for row in rows] == sorted(scores.values(), reverse=True)
        assert float(rows[1]["dice_difference"]) == pytest.approx(
            scores[order[1]] - scores[order[0]]
        )
        model = load_predictor(trained, device="cpu").model
        size = sum(parameter.numel() for parameter in model.parameters())
        assert {row["num_parameters"] for row in rows} == {str(size)}
        assert all(float(row["gflop"]) > 0 < float(row["images_per_second"]) for row in rows)
    else:
        assert text.index(order[0]) < text.index(order[1])
        assert "images/s" in text
        assert "A class that is empty in truth and prediction scores 1" in text
    if suffix == ".html":
        assert "http" not in text


def test_an_ensemble_costs_the_sum_of_its_members_and_views(command, trained):
    (trained.parent / "vote").mkdir()
    member = f'{{path: "{trained}/best.pt", sha256: {sha256_file(trained / "best.pt")}}}'
    ensemble = trained.parent / "vote" / "ensemble.yaml"
    ensemble.write_text(
        f"classes: [background, rv, myo, lv]\nmembers: [{member}, {member}]\nkeep_largest: [lv]\n"
    )
    command("evaluate", trained, ensemble, "--split", "test", "--table", "a.csv")
    outcome = command(
        *("evaluate", trained, ensemble, "--split", "test", "--table", "b.csv", "--tta", "flips")
    )
    assert (outcome.code, outcome.err) == (0, "")
    costs = []
    for name in ("a.csv", "b.csv"):
        with Path(name).open(newline="") as file:
            rows = {row["model"]: row for row in csv.DictReader(file)}
        costs.append({name: float(row["gflop"]) for name, row in rows.items()})
        assert int(rows["ensemble"]["num_parameters"]) == 2 * int(rows["unet"]["num_parameters"])
    assert costs[0]["ensemble"] == pytest.approx(2 * costs[0]["unet"])
    assert costs[1]["ensemble"] == pytest.approx(4 * costs[0]["ensemble"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--table", "a.txt"), "a.txt: a table is written as .csv, .md, .html"),
        (("--table", "a.md", "--out", "x"), "leave out --out"),
        (("--table", "a.md", "--versus", "x"), "leave out --versus"),
    ],
)
def test_a_table_scores_each_run_alone(command, trained, words, message):
    outcome = command("evaluate", trained, *words)
    assert outcome.code == 2
    assert message in outcome.err


def test_the_headline_of_a_tree_is_by_volume(command, tree, tiny):
    arguments = ("--data", tree, *tiny, "--epochs", 1, "--name", "heart")
    assert command("train", *arguments).code == 0
    outcome = command("evaluate", "runs/heart", "--split", "test", "--tolerance", 3)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Dice by volume: " in outcome.out
    assert "NSD at 3 mm" in outcome.out
    assert "n = 2 volumes of 1 patient." in outcome.out
    assert "Distances of volumes are measured in space, in mm." in outcome.out
    scores = read_scores(Path("runs/heart/test"))
    assert scores["headline"]["level"] == "volume"
    assert scores["protocol"]["nsd_tolerance"] == 3
    assert {"slice", "volume", "patient"} == set(scores["levels"])
    assert scores["n"] == len(scores["images"]) > len(scores["volumes"]) == 2
    counts = [(row["truth_size"]["lv"], row["prediction_size"]["lv"]) for row in scores["images"]]
    volumes = [(row["truth_size"]["lv"], row["prediction_size"]["lv"]) for row in scores["volumes"]]
    assert np.sum(counts, axis=0).tolist() == np.sum(volumes, axis=0).tolist()
    again = command("evaluate", "runs/heart", "--split", "test")
    assert again.code == 2
    assert "holds scores of another evaluation (nsd_tolerance)" in again.err


def test_the_tolerance_is_that_of_the_metric(command, trained):
    assert command("evaluate", trained).code == 0
    assert read_scores(trained / "val")["protocol"]["nsd_tolerance"] == TOLERANCE
