import csv
import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, with_overrides
from acdc_seg.data.images import read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import TTA
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from acdc_seg.submission.rle import decode_rle

IDS = [f"patient004_{image}_mask{index}" for image in (0, 1) for index in (1, 2, 3)]


def read_rows(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "encoding"]
    return dict(rows)


def score_in(text: str) -> float:
    match = re.search(r"Score (\d\.\d{5}) ", text)
    assert match is not None
    return float(match[1])


@pytest.fixture
def submission(command, trained, paired_folder) -> Path:
    assert command("submit", "--runs", trained, "--data", paired_folder).code == 0
    return Path("submission.csv")


def test_rows_are_the_predictions(command, trained, paired_folder):
    outcome = command(
        "submit",
        "--runs",
        trained,
        "--data",
        paired_folder,
        "--tta",
        "dihedral",
        "--out",
        "s.csv",
        "--masks",
        "masks",
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert (
        outcome.out == "Wrote s.csv: 6 rows of 2 images.\nNext: acdc-submit --check s.csv --data "
        f"{paired_folder}\n"
    )
    rows = read_rows(Path("s.csv"))
    assert list(rows) == IDS
    predictor = TTA(load_predictor(trained, device="cpu", precision="fp32"), views="dihedral")
    for stem in ("patient004_0", "patient004_1"):
        labels = predictor(read_image(paired_folder / "test/image" / f"{stem}.png")).argmax(0)
        assert (read_mask(Path(f"masks/{stem}_mask.png"), ClassesConfig()) == labels).all()
        for index in (1, 2, 3):
            assert (
                decode_rle(rows[f"{stem}_mask{index}"], labels.shape) == (labels == index)
            ).all()


@pytest.mark.parametrize("where", ["test/image", ""])
def test_second_run_gives_the_same_bytes_from_folder_or_images(
    command, trained, paired_folder, submission, where
):
    assert (
        command(
            "submit",
            "--runs",
            trained,
            "--data",
            paired_folder / where,
            "--out",
            "again.csv",
            "--batch-size",
            1,
        ).code
        == 0
    )
    assert Path("again.csv").read_bytes() == submission.read_bytes()


def test_weights_of_several_runs(command, trained, paired_folder, submission):
    pair = ("--runs", trained, trained / "last.pt", "--data", paired_folder)
    assert command("submit", *pair, "--weights", 1, 0, "--out", "first.csv").code == 0
    assert command("submit", *pair, "--weights", "0,1", "--out", "second.csv").code == 0
    assert Path("first.csv").read_bytes() == submission.read_bytes()
    assert Path("second.csv").read_bytes() != submission.read_bytes()


def test_template_orders_the_rows(command, trained, paired_folder, submission):
    Path("template.csv").write_text(
        "id,encoding\n" + "".join(f"{id},1 1\n" for id in reversed(IDS))
    )
    assert (
        command(
            "submit",
            "--runs",
            trained,
            "--data",
            paired_folder,
            "--template",
            "template.csv",
            "--out",
            "sorted.csv",
        ).code
        == 0
    )
    assert list(read_rows(Path("sorted.csv"))) == IDS[::-1]
    assert read_rows(Path("sorted.csv")) == read_rows(submission)


def test_check_scores_like_evaluate(command, trained, paired_folder, submission):
    outcome = command("submit", "--check", submission, "--truth", paired_folder / "test/mask")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith("submission.csv: 6 rows of 2 images: no problems\n")
    assert command("evaluate", trained, "--split", "test").code == 0
    assert score_in(outcome.out) == pytest.approx(
        json.loads((trained / "test/metrics.json").read_text())["dice"], abs=6e-6
    )


def test_check_takes_sizes_and_names_from_the_images(command, paired_folder, submission):
    outcome = command("submit", "--check", submission, "--data", paired_folder)
    assert (outcome.code, outcome.out) == (0, "submission.csv: 6 rows of 2 images: no problems\n")
    assert "taken as 96x96" in command("submit", "--check", submission).out
    height, width = read_image(paired_folder / "test/image/patient004_1.png").shape[-2:]
    beyond = height * width + 1
    Path("s.csv").write_text(
        f"id,encoding\npatient004_0_mask1,1 1\npatient004_0_mask2,{beyond} 1\npatient004_0_mask3,\n"
    )
    assert command("submit", "--check", "s.csv").code == 0
    outcome = command("submit", "--check", "s.csv", "--data", paired_folder)
    assert outcome.code == 2
    assert "problem patient004_1: no row for class 1, 2, 3" in outcome.out
    assert f"patient004_0, class 2: pair 1 ({beyond} 1) runs out of the image" in outcome.out
    assert (
        "leave --data out"
        in command(
            "submit",
            "--check",
            "s.csv",
            "--data",
            paired_folder,
            "--truth",
            paired_folder / "test/mask",
        ).err
    )


def test_true_masks_score_one(command, paired_folder):
    truth = paired_folder / "test/mask"
    assert command("submit", "--from-masks", truth, "--out", "truth.csv").out.startswith(
        "Wrote truth.csv: 6 rows of 2 images."
    )
    assert score_in(command("submit", "--check", "truth.csv", "--truth", truth).out) == 1


def test_predicted_masks_encode_to_the_same_bytes(command, trained, paired_folder, submission):
    assert (
        command(
            "submit",
            "--runs",
            trained,
            "--data",
            paired_folder,
            "--out",
            "s.csv",
            "--masks",
            "masks",
        ).code
        == 0
    )
    assert command("submit", "--from-masks", "masks", "--out", "encoded.csv").code == 0
    assert Path("encoded.csv").read_bytes() == submission.read_bytes()


def test_check_lists_all_problems(command):
    Path("s.csv").write_text("id,encoding\nfoo_mask1,1 2 3\nfoo_mask2,0 1\nfoo_mask3,\nother,\n")
    outcome = command("submit", "--check", "s.csv")
    assert outcome.code == 2
    *problems, last = outcome.out.splitlines()
    assert len(problems) == 3
    assert all(line.startswith("problem ") for line in problems)
    assert last == "s.csv: 3 problems in 4 rows"


def test_tta_without_a_word_is_dihedral(command, trained, paired_folder):
    way = ("submit", "--runs", trained, "--data", paired_folder)
    assert command(*way, "--tta", "--out", "bare.csv").code == 0
    assert command(*way, "--out", "named.csv", "--tta", "dihedral").code == 0
    assert command(*way, "--out", "last.csv", "--tta").code == 0
    assert (
        Path("bare.csv").read_bytes()
        == Path("named.csv").read_bytes()
        == Path("last.csv").read_bytes()
    )


def test_a_submission_without_rows_is_a_problem(command):
    Path("empty.csv").write_text("id,encoding\n")
    outcome = command("submit", "--check", "empty.csv")
    assert (outcome.code, outcome.out.splitlines()[0]) == (2, "problem the file has no rows")


@pytest.fixture
def save_run(trained):
    """Saves a network of random weights with other settings of data and classes."""

    def save(name, **changes):
        config = with_overrides(load_checkpoint(trained / "best.pt").config, changes)
        torch.manual_seed(0)
        network = build_model(config.model, config.data.channels, len(config.classes.names))
        checkpoint = Checkpoint(config, network.state_dict(), 1, 0.5, "paired")
        save_checkpoint(Path("runs") / name / "best.pt", checkpoint)
        return Path("runs") / name

    return save


def rename_masks(folder, values, pattern):
    """Gives the masks of a folder these values, and names by this pattern."""
    for path in folder.iterdir():
        labels = read_mask(path, ClassesConfig())
        path.unlink()
        stem = path.stem.removesuffix("_mask")
        pixels = np.array(values, np.uint8)[np.minimum(labels, len(values) - 1)]
        cv2.imwrite(str(folder / f"{pattern.replace('{stem}', stem)}.png"), pixels)


SWAPPED = {"classes.values": [0, 3, 2, 1]}
BINARY = {
    "classes.names": ["background", "heart"],
    "classes.values": [0, 255],
    "classes.colors": [[0, 0, 0], [255, 0, 0]],
}


@pytest.mark.parametrize(
    ("classes", "pattern"),
    [(SWAPPED, "{stem}_mask"), (SWAPPED, "{stem}"), (BINARY, "{stem}_mask"), (BINARY, "m-{stem}")],
)
def test_classes_and_names_of_the_data_go_there_and_back(
    command, save_run, paired_folder, classes, pattern
):
    values, truth = classes["classes.values"], paired_folder / "test" / "mask"
    for kind in ("train", "val", "test"):
        rename_masks(paired_folder / kind / "mask", values, pattern)
    naming = {"data.mask_pattern": pattern, "data.path": str(paired_folder)}
    run = save_run("other", **classes, **naming)
    arguments = ("--data", paired_folder, "--out", "s.csv", "--masks", "masks")
    outcome = command("submit", "--runs", run, *arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[1] == (
        f"Next: acdc-submit --check s.csv --data {paired_folder} --run runs/other"
    )
    proposed = shlex.split(outcome.out.splitlines()[1])[2:]
    assert command("submit", *proposed).out.endswith(" rows of 2 images: no problems\n")

    names = sorted(path.name for path in truth.iterdir())
    assert sorted(path.name for path in Path("masks").iterdir()) == names
    predictor = load_predictor(run, device="cpu")
    labels = predictor(read_image(paired_folder / "test/image/patient004_0.png")).argmax(0)
    pixels = cv2.imread(f"masks/{pattern.replace('{stem}', 'patient004_0')}.png", -1)
    np.testing.assert_array_equal(pixels, np.array(values)[labels])

    way = ("--from-masks", "masks", "--run", run, "--out", "again.csv")
    assert command("submit", *way).code == 0
    assert Path("again.csv").read_bytes() == Path("s.csv").read_bytes()
    outcome = command("submit", "--check", "s.csv", "--truth", "masks", "--run", run)
    assert score_in(outcome.out) == 1
    assert command("evaluate", run, "--split", "test").code == 0
    expected = json.loads((run / "test/metrics.json").read_text())["dice"]
    outcome = command("submit", "--check", "s.csv", "--truth", paired_folder, "--run", run)
    assert score_in(outcome.out) == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize("encoding", ["values", "colors"])
@pytest.mark.parametrize("number", [12, 30])
def test_masks_of_more_classes_than_digits_are_written_alone(
    command, save_run, paired_folder, number, encoding
):
    names = [f"c{index}" for index in range(number)]
    run = save_run("many", **{"classes.names": names, "classes.mask_encoding": encoding})
    way = ("submit", "--runs", run, "--data", paired_folder)
    outcome = command(*way, "--masks", "masks")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "Wrote masks: 2 masks, and no CSV: ids end in one class digit, which "
        f"{number} classes do not fit.\n"
    )
    assert not Path("submission.csv").exists()
    predictor = load_predictor(run, device="cpu")
    labels = predictor(read_image(paired_folder / "test/image/patient004_0.png")).argmax(0)
    mask = read_mask(Path("masks/patient004_0_mask.png"), predictor.classes)
    np.testing.assert_array_equal(mask, labels)
    for arguments in ((), ("--masks", "other", "--out", "s.csv")):
        outcome = command(*way, *arguments)
        assert outcome.code == 2
        assert f"{number} classes cannot be submitted" in outcome.err
        assert "acdc-submit --masks DIR without --out and --template writes masks" in outcome.err


def test_settings_take_the_place_of_a_run(command, paired_folder):
    truth = paired_folder / "test" / "mask"
    rename_masks(truth, [0, 3, 2, 1], "{stem}")
    settings = ("classes.values=[0,3,2,1]", "data.mask_pattern={stem}")
    outcome = command("submit", "--from-masks", truth, *settings, "--out", "s.csv")
    assert outcome.code == 0
    proposed = shlex.split(outcome.out.splitlines()[1])[2:]
    assert score_in(command("submit", *proposed).out) == 1
    outcome = command("submit", "--check", "s.csv", "model.depth=2")
    assert outcome.err.startswith("Error: model.depth: has no effect here")


def test_a_run_is_scored_with_other_class_values(command, trained, paired_folder):
    assert command("evaluate", trained, "--split", "test").code == 0
    for kind in ("train", "val", "test"):
        rename_masks(paired_folder / kind / "mask", [0, 10, 20, 30], "{stem}")
    way = ("--data", paired_folder, "--split", "test", "--out", "other")
    assert "value 10" in command("evaluate", trained, *way, "data.mask_pattern={stem}").err
    settings = ("classes.values=[0,10,20,30]", "data.mask_pattern={stem}")
    assert command("evaluate", trained, *way, *settings).code == 0
    ours, theirs = (
        json.loads(Path(folder, "metrics.json").read_text())["images"]
        for folder in ("other", trained / "test")
    )
    assert ours == theirs


def test_next_follows_the_template(command, trained, paired_folder, submission):
    Path("template.csv").write_text(
        "id,encoding\n" + "".join(f"{id},1 1\n" for id in reversed(IDS))
    )
    arguments = ("--data", paired_folder, "--template", "template.csv", "--out", "s.csv")
    outcome = command("submit", "--runs", trained, *arguments)
    proposed = shlex.split(outcome.out.splitlines()[1])[2:]
    assert command("submit", *proposed).out == "s.csv: 6 rows of 2 images: no problems\n"
    assert "order" in command("submit", "--check", "s.csv", "--data", paired_folder).out


def test_images_that_a_run_was_trained_on_are_warned_of(command, trained, paired_folder):
    outcome = command("submit", "--runs", trained, "--data", paired_folder / "train")
    assert outcome.code == 0
    assert f"Warning: {trained}/best.pt was trained on 4 of these 4 images" in outcome.err


def test_an_image_that_is_too_small_is_named(command, trained, write_png):
    write_png(Path("small/tiny.png"), np.zeros((20, 40), np.uint8))
    outcome = command("submit", "--runs", trained, "--data", "small")
    assert outcome.code == 2
    assert outcome.err.startswith(
        "Error: small/tiny.png: images of height=20, width=40 are too small"
    )
