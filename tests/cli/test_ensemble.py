import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from acdc_seg.cli.ensemble import main
from acdc_seg.config import with_overrides
from acdc_seg.data.images import read_image
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import TTA
from acdc_seg.runs.checkpoint import load_checkpoint, save_checkpoint

TRAIN = (
    "--epochs",
    "2",
    "--batch-size",
    "2",
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "model.depth=2",
    "model.base_channels=4",
)
STEMS = ("patient003_0", "patient003_1", "patient004_0", "patient004_1")


@pytest.fixture
def choose(monkeypatch, capsys):
    """Runs acdc-ensemble and gives its exit code and both streams."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["acdc-ensemble", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def runs(command, kept, hearts, write_png, tmp_path):
    """Two small U-Nets of other seeds, trained once; two patients validate."""
    if not (kept / "runs").is_dir():
        for number, (image, mask) in enumerate(hearts):
            folder, stem = (
                ("train" if number < 4 else "val"),
                f"patient00{number // 2 + 1}_{number % 2}",
            )
            write_png(kept / "data" / folder / "image" / f"{stem}.png", image)
            write_png(kept / "data" / folder / "mask" / f"{stem}_mask.png", mask)
        for seed in (0, 1):
            settings = (*TRAIN, f"seed={seed}", f"runs_dir={kept / 'runs'}", "optimizer.lr=0.02")
            assert (
                command("train", "--data", kept / "data", "--name", f"unet{seed}", *settings).code
                == 0
            )
    shutil.copytree(kept / "runs", tmp_path / "runs")
    return [tmp_path / "runs" / f"unet{seed}" for seed in (0, 1)]


def change_config(run, **changes):
    checkpoint = load_checkpoint(run / "best.pt")
    save_checkpoint(
        run / "best.pt", replace(checkpoint, config=with_overrides(checkpoint.config, changes))
    )


def read_report(folder):
    return json.loads((Path(folder) / "ensemble.json").read_text())


def test_what_is_chosen_predicts_and_scores_as_reported(command, choose, runs, kept, monkeypatch):
    # rounded to half precision a pixel may turn, and with it the largest region
    monkeypatch.setattr("acdc_seg.inference.stored.DTYPE", np.float32)
    for run in runs:
        shutil.rmtree(run / "probabilities", ignore_errors=True)
    code, out, err = choose(*runs, "--tta", "none", "flips", "--device", "cpu", "--out", "both")
    assert (code, err) == (0, "")
    assert "Chosen on 4 images of 2 patients" in out
    assert out.endswith(
        "Wrote both/ensemble.yaml, ensemble.json and report.html\n"
        "Next: acdc-submit --runs both --data DIR\n"
    )
    report, written = read_report("both"), yaml.safe_load(Path("both/ensemble.yaml").read_text())
    assert sorted(report["images"]) == list(STEMS)
    assert (
        f"ensemble {report['chosen_on']['ensemble']:.4f}, best member "
        f"{report['chosen_on']['best_member']:.4f}" in out
    )

    assert command("evaluate", "both").code == 0
    scores = json.loads(Path("both/val/metrics.json").read_text())
    assert scores["dice"] == pytest.approx(report["chosen_on"]["ensemble"], abs=1e-6)
    assert command("evaluate", "both/ensemble.yaml", "--out", "file").code == 0
    assert json.loads(Path("file/metrics.json").read_text()) == scores

    total, image = 0.0, read_image(kept / "data/val/image/patient003_0.png")
    for member in written["members"]:
        model = load_predictor(Path("both") / member["path"], device="cpu")
        total += member["weight"] * (
            model if member["tta"] == "none" else TTA(model, views=member["tta"])
        )(image)
    Path("both/ensemble.yaml").write_text(yaml.safe_dump({**written, "keep_largest": []}))
    expected = total / sum(member["weight"] for member in written["members"])
    np.testing.assert_allclose(load_predictor("both", device="cpu")(image), expected, atol=1e-6)


def test_submissions_take_the_folder(command, choose, runs, kept):
    assert choose(runs[0], "--tta", "none", "--no-largest", "--device", "cpu")[0] == 0
    images = ("--data", kept / "data/val/image", "--device", "cpu")
    assert (
        command("submit", "--runs", "ensembles/ensemble", *images, "--out", "ensemble.csv").code
        == 0
    )
    assert command("submit", "--runs", runs[0], *images, "--out", "run.csv").code == 0
    assert Path("ensemble.csv").read_bytes() == Path("run.csv").read_bytes()


def test_scores_of_a_test_split_are_proposed_where_it_has_masks(command, choose, runs, kept):
    shutil.copytree(kept / "data" / "val", "tested/test")
    for split in ("train", "val"):
        shutil.copytree(kept / "data" / split, f"tested/{split}")
    for run in runs:
        change_config(run, **{"data.path": str(Path("tested").resolve())})
    code, out, _ = choose(*runs, "--tta", "none", "--no-largest", "--device", "cpu", "--out", "e")
    assert code == 2  # the same images twice
    for kind, end in (("image", ".png"), ("mask", "_mask.png")):
        folder = Path("tested/test") / kind
        for number, stem in enumerate(STEMS):
            (folder / f"{stem}{end}").rename(folder / f"patient009_{number}{end}")
    code, out, _ = choose(*runs, "--tta", "none", "--no-largest", "--device", "cpu", "--out", "e")
    assert out.endswith("Next: acdc-evaluate e --split test, or acdc-submit --runs e --data DIR\n")
    assert command("evaluate", "e", "--split", "test").code == 0


def test_a_member_that_changed_since_is_refused(command, choose, runs, kept):
    assert choose(runs[0], "--tta", "none", "--no-largest", "--device", "cpu")[0] == 0
    shutil.copy(runs[1] / "best.pt", runs[0] / "best.pt")
    outcome = command("submit", "--runs", "ensembles/ensemble", "--data", kept / "data/val/image")
    assert outcome.code == 2
    assert "unet0/best.pt has changed since the ensemble was chosen; choose it again" in outcome.err
    assert not Path("submission.csv").exists()


def test_folders_are_numbered_and_predictions_reused(choose, runs, monkeypatch):
    arguments = (*runs, "--tta", "none", "--no-largest", "--device", "cpu")
    assert choose(*arguments)[0] == 0
    monkeypatch.setattr("acdc_seg.ensembling.candidates.load_predictor", None)
    code, out, _ = choose(*arguments)
    assert (code, "Wrote ensembles/ensemble-2/ensemble.yaml" in out) == (0, True)
    assert read_report("ensembles/ensemble") == read_report("ensembles/ensemble-2")


def test_two_copies_of_one_model_have_an_interval_around_nothing(choose, runs):
    shutil.copytree(runs[0], "runs/copy")
    code, out, err = choose(
        runs[0], "runs/copy", "--tta", "none", "--device", "cpu", "--out", "copies"
    )
    assert (code, err) == (0, "")
    assert out.count("difference +0.0000 (95 % interval +0.0000 to +0.0000)") == 2
    assert [
        member["weight"]
        for member in yaml.safe_load(Path("copies/ensemble.yaml").read_text())["members"]
    ] == [1.0]


def test_a_member_trained_on_the_selection_data_is_caught(choose, command, runs, kept):
    """The trap is trained until it knows the validation images, which it was given under other
    names, by heart.
    """
    for number, (record, split) in enumerate(
        [*((stem, "train") for stem in STEMS), ("patient001_0", "val")]
    ):
        home = kept / "data" / ("train" if split == "val" else "val")
        for kind, end in (("image", ""), ("mask", "_mask")):
            target = Path("trap_data") / split / kind / f"scan{number}{end}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(home / kind / f"{record}{end}.png", target)
    settings = (*TRAIN[2:], "--epochs", "12", "optimizer.lr=0.02", "augment.preset=none")
    assert command("train", "--data", "trap_data", "--name", "trap", *settings).code == 0
    arguments = ("runs/trap", *runs, "--tta", "none", "--no-largest", "--device", "cpu")
    code, out, err = choose(*arguments, "--out", "honest")
    assert code == 0
    warning = (
        "Warning: data leakage: trap was trained on 4 of the 4 images to choose on, or on their "
        "patients (first patient003_0): "
    )
    assert err == f"{warning}left out; --allow-seen keeps it\n"
    assert "trap" not in out
    assert read_report("honest")["excluded"] == [
        {"name": "trap", "num_leaked_images": 4, "first": "patient003_0"}
    ]

    code, out, err = choose(*arguments, "--allow-seen", "--out", "flattered")
    assert err == f"{warning}kept as asked, but its score and the ensemble's are too high\n"
    report = read_report("flattered")
    assert [(each["name"], each["num_leaked_images"]) for each in report["candidates"]] == [
        ("trap", 4),
        ("unet0", 0),
        ("unet1", 0),
    ]
    assert report["chosen_on"]["ensemble"] > read_report("honest")["chosen_on"]["ensemble"]


def test_other_data_to_choose_on(choose, runs, kept):
    code, out, err = choose(*runs, "--data", kept / "data", "--split", "train", "--device", "cpu")
    assert code == 2
    assert (
        "every run was trained on images to choose on; give other images with --data and --split"
        in err
    )
    shutil.copytree(kept / "data" / "val", "other/test")
    code, out, err = choose(
        *runs,
        "--data",
        "other",
        "--split",
        "test",
        "--tta",
        "none",
        "--device",
        "cpu",
        "--out",
        "chosen",
    )
    assert (code, err) == (0, "")
    assert "Chosen on 4 images of 2 patients" in out
    code, out, err = choose(*runs, "--data", "other")
    assert code == 2
    assert err.endswith("other: there are no images in split 'val'; choose from: test\n")


def test_data_of_another_numbering_is_chosen_on(choose, runs, kept, write_png):
    """Exactly as the same images with the numbers of the runs."""
    shutil.copytree(kept / "data" / "val", "same/test")
    shutil.copytree(kept / "data" / "val", "other/test")
    for path in Path("other/test/mask").iterdir():
        mask = np.array([0, 3, 2, 1], np.uint8)[cv2.imread(str(path), cv2.IMREAD_UNCHANGED)]
        write_png(path.with_name(path.name.replace("_mask", "_gt")), mask)
        path.unlink()
    way = ("--split", "test", "--tta", "none", "--device", "cpu")
    words = ("classes=mnms", "data.mask_pattern={stem}_gt")
    first = choose(*runs, "--data", "same", *way, "--out", "first")
    second = choose(*runs, *words, "--data", "other", *way, "--out", "second")
    assert (first[0], second[0]) == (0, 0)
    assert read_report("first")["chosen_on"] == read_report("second")["chosen_on"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tta", "turns"), "--tta 'turns' is unknown; choose from: none, flips, dihedral"),
        (("--split", "test"), "--split test has no effect without --data; give both or neither"),
        (("--data", "data", "--split", "vall"), "split 'vall' is unknown; did you mean 'val'?"),
    ],
)
def test_mistakes_are_answered_with_the_choices(choose, runs, arguments, message):
    code, _, err = choose(runs[0], *arguments)
    assert (code, err) == (2, f"Error: {message}\n")
    assert not Path("ensembles").exists()


def test_members_of_other_classes_are_refused(choose, runs):
    change_config(runs[1], **{"classes.names": ["background", "right", "wall", "left"]})
    code, _, err = choose(*runs)
    assert code == 2
    assert err == (
        f"Error: {runs[1]}, {runs[0]}: the models do not share their classes: background, right, "
        "wall, left against "
        "background, rv, myo, lv; an ensemble needs members of the same classes in the same order\n"
    )


def test_help_is_answered_without_the_heavy_libraries(choose):
    code, out, _ = choose("--help")
    assert code == 0
    assert [
        panel in out for panel in ("Arguments", "What", "How", "Output", "Computing", "Other")
    ] == [True] * 6
    script = (
        "import sys, acdc_seg.cli.ensemble; print([name for name in ('torch', 'numpy', "
        "'pydantic', 'cv2') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
