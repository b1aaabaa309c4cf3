"""A mistake of the user ends in one message that names it, exit code 2, and nothing new on
disk.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from acdc_seg.config import with_overrides
from acdc_seg.runs.checkpoint import load_checkpoint, save_checkpoint
from acdc_seg.runs.folder import Run

IMAGE = "train/image/patient001_0.png"
MASK = "train/mask/patient001_0_mask.png"
VAL_MASK = "val/mask/patient003_1_mask.png"


def files() -> set[Path]:
    return set(Path().rglob("*"))


@pytest.fixture
def refused(command) -> Callable[..., str]:
    """Calls a command that must fail; returns its message, without the word Error."""

    def call(name: str, *arguments: object) -> str:
        before = files()
        outcome = command(name, *arguments)
        assert outcome.code == 2
        assert "Traceback" not in outcome.err
        assert outcome.err.startswith("Error: ")
        assert files() == before
        return outcome.err.removeprefix("Error: ").rstrip("\n")

    return call


@pytest.fixture
def usage_error(command) -> Callable[..., str]:
    """Calls a command with options that do not parse; returns what is said, in one line and without
    the box around it.
    """

    def call(name: str, *arguments: object) -> str:
        before = files()
        outcome = command(name, *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert files() == before
        return " ".join(re.sub("[│╭╮╰╯─]", " ", outcome.err).split())

    return call


def change(path: Path, alter: Callable) -> None:
    cv2.imwrite(str(path), alter(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def set_first_pixel(pixels):
    pixels[0, 0] = 4
    return pixels


class TestTrainingData:
    @pytest.fixture
    def train(self, refused, tiny):
        return lambda *arguments: refused("train", *tiny, *arguments)

    @pytest.fixture
    def hearts_folder(self, paired_folder):
        return paired_folder

    def test_missing_folder(self, train):
        assert re.match(
            r"\S+/nowhere: no such folder, expected table .* or ACDC tree \(patient001/Info.cfg .*"
            r"or paired folders \(images/ and masks/.*\); check the path$",
            train("--data", "nowhere"),
        )

    def test_empty_folder(self, train):
        Path("empty").mkdir()
        assert re.match(
            r"\S+/empty: holds no files, not recognized as table .* or ACDC tree .*; check the",
            train("--data", "empty"),
        )

    def test_a_file(self, train, hearts_folder):
        assert "patient001_0.png: no such folder" in train("--data", hearts_folder / IMAGE)

    def test_image_without_mask(self, train, hearts_folder):
        (hearts_folder / MASK).unlink()
        message = train("--data", hearts_folder)
        assert (
            f"{hearts_folder}/{IMAGE}: has no mask, expected mask/patient001_0_mask.png" in message
        )

    def test_mask_without_image(self, train, hearts_folder):
        (hearts_folder / IMAGE).unlink()
        assert (
            "patient001_0_mask.png: the mask has no image; add the image or remove the mask"
            in train("--data", hearts_folder)
        )

    @pytest.mark.parametrize("mask", [MASK, VAL_MASK])
    def test_unknown_mask_value(self, train, hearts_folder, mask):
        change(hearts_folder / mask, set_first_pixel)
        message = train("--data", hearts_folder)
        assert message.startswith(
            f"{hearts_folder / mask}: the mask contains value 4 (1 pixels), expected one of "
            "[0, 1, 2, 3]; correct the mask"
        )

    def test_stretched_mask_values(self, train, hearts_folder):
        change(hearts_folder / MASK, lambda pixels: pixels * 85)
        message = train("--data", hearts_folder)
        assert "patient001_0_mask.png: the mask contains value 85 (" in message
        assert message.endswith("correct the mask")  # all others are right
        for path in {*hearts_folder.glob("*/mask/*.png")} - {hearts_folder / MASK}:
            change(path, lambda pixels: pixels * 85)
        message = train("--data", hearts_folder)
        assert message.endswith("set classes.values=[0,85,170,255] if that is so")

    def test_mask_of_another_size(self, train, hearts_folder):
        change(hearts_folder / MASK, lambda pixels: pixels[:40])
        message = train("--data", hearts_folder)
        assert (
            message
            == f"{hearts_folder / MASK}: the mask is 40x48, its image patient001_0.png is 48x48 "
            "pixels; export both at one size"
        )

    def test_truncated_image(self, train, hearts_folder):
        (hearts_folder / IMAGE).write_bytes((hearts_folder / IMAGE).read_bytes()[:500])
        message = train("--data", hearts_folder)
        assert (
            message
            == f"{hearts_folder / IMAGE}: not a readable image (500 bytes, truncated or damaged); "
            "copy it again from its source"
        )

    def test_colour_image_where_grey_is_configured(self, train, hearts_folder):
        change(hearts_folder / IMAGE, lambda pixels: cv2.applyColorMap(pixels, cv2.COLORMAP_JET))
        assert (
            "patient001_0.png: the image has 3 channels where 1 are configured; set data.channels=3"
            in train("--data", hearts_folder)
        )

    def test_images_larger_than_the_size_they_are_padded_to(self, train, hearts_folder):
        message = train("--data", hearts_folder, "data.fit=pad", "data.size=[48,40]")
        assert message.endswith(
            "patient001_0.png: 48x48 pixels do not fit into data.size=[48, 40], and data.fit=pad "
            "scales nothing; set data.fit=crop for windows of the images, or a larger data.size"
        )

    def test_unwritable_paths(self, train, hearts_folder):
        Path("file").touch()
        assert train("--data", hearts_folder, "runs_dir=file").startswith(
            "file: cannot make a run folder (File exists)"
        )
        assert train("--data", hearts_folder, "runs_dir=/proc/x").startswith(
            "/proc/x: cannot make a run folder ("
        )

    def test_existing_run_name(self, train, trained, hearts_folder):
        message = train("--data", hearts_folder, "--name", "unet")
        assert (
            message
            == "runs/unet: holds a run already; resume it with acdc-train --resume runs/unet, or "
            "choose another --name"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "unett"], "model 'unett' is unknown: did you mean 'unet'?"),
        (["model.name=7"], "model '7' is unknown: choose from: unet, deeplab_drn"),
        (["model.dept=3"], "model.dept: unknown setting; did you mean 'depth'?"),
        (["trian.epochs=3"], "trian: unknown setting; did you mean 'train'?"),
        (["--lr", "-1"], "optimizer.lr: got -1.0; input should be greater than 0"),
        (["optimizer.lr=-1"], "optimizer.lr: got -1; input should be greater than 0"),
        (
            ["--batch-size", "0"],
            "train.batch_size: got 0; input should be greater than or equal to 1",
        ),
        (
            ["train.batch_size=0"],
            "train.batch_size: got 0; input should be greater than or equal to 1",
        ),
        (["--loss", "dise"], "loss.name: got 'dise'; did you mean 'dice'?"),
        (["--optimizer", "adamm"], "optimizer.name: got 'adamm'; did you mean 'adam'?"),
        (["--device", "tpu"], "train.device: got 'tpu'; "),
        (["--precision", "no"], "train.precision: got 'no'; choose from: auto, fp32, bf16, fp16"),
        (["--name", "a/b"], "name: got 'a/b'; string should match pattern"),
        (
            ["--epochs", "3", "extra"],
            "invalid override 'extra': expected section.key=value, for example optimizer.lr=0.001",
        ),
        (["train.epochs=["], "'train.epochs=[': this is not YAML"),
        (
            ["--config", "none.yaml"],
            "none.yaml: cannot read this config file (No such file or directory); check the path",
        ),
    ],
)
def test_settings_of_training(refused, arguments, message):
    assert refused("train", *arguments).startswith(message)


def test_all_mistakes_at_once(refused):
    lines = refused("train", "--epochs", 0, "--seed", -1, "model.depth=9").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["seed", "model.depth", "train.epochs"]


def test_line_of_a_config_file(refused):
    Path("mine.yaml").write_text("train:\n  epochs: 3\n  epocs: 3\n")
    assert (
        refused("train", "--config", "mine.yaml")
        == "mine.yaml, line 3: train.epocs: unknown setting; did you mean 'epochs'?"
    )


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["--lr", "fast"], "Invalid value for '--lr'"),
        ("train", ["--learning-rate", "1"], "No such option: --learning-rate"),
        ("evaluate", [], "give a run folder, a checkpoint or an ensemble before the settings"),
        ("evaluate", ["runs/unet", "--batch-size", "0"], "Invalid value for '--batch-size'"),
        ("data", ["draw"], "No such command 'draw'"),
        ("data", ["synthesize", "--patients", "0"], "Invalid value for '--patients'"),
    ],
)
def test_options_that_do_not_parse(usage_error, name, arguments, message):
    assert message in usage_error(name, *arguments)


def stop(run: Path) -> None:
    """Makes a finished run one that was stopped."""
    Run(run).update_json(status="stopped")


class TestResume:
    def test_without_a_checkpoint(self, refused, trained):
        (trained / "last.pt").unlink()
        stop(trained)
        assert (
            refused("train", "--resume", trained)
            == f"{trained}: no last.pt to resume from; start a run without --resume"
        )

    @pytest.mark.parametrize(
        ("path", "hint"),
        [
            ("nowhere", "check the path"),
            ("runs/nuet", "did you mean runs/unet?"),
            ("rnus/unet", "did you mean runs?"),
        ],
    )
    def test_a_path_that_is_no_run(self, refused, trained, path, hint):
        assert (
            refused("train", "--resume", path)
            == f"{path}: no run to resume (its config.yaml is missing); {hint}"
        )

    def test_extending_a_run_whose_training_state_was_removed(self, refused, trained):
        Run(trained).remove_training_state()
        assert refused("train", "--resume", trained, "--extend-epochs", 3) == (
            f"{trained}: cannot be extended, for last.pt was removed when it was finished; train "
            "with train.keep_last=true to keep it"
        )

    @pytest.mark.parametrize(
        ("option", "difference"),
        [
            (("--epochs", 3), "train.epochs: 2 in the run, 3 now"),
            (("--model", "segnet"), "model.name: unet in the run, segnet now"),
            (("optimizer.lr=0.5",), "optimizer.lr: 0.002 in the run, 0.5 now"),
        ],
    )
    def test_with_other_settings(self, refused, trained, option, difference):
        for removed in (False, True):  # also where there is nothing left to resume from
            if removed:
                Run(trained).remove_training_state()
            message = refused("train", "--resume", trained, *option)
            assert message.startswith(f"{trained}: exists with different settings:\n")
        assert f"\n  {difference}\n" in message

    @pytest.mark.parametrize(
        "option", [("--config", "configs/unet.yaml"), ("--folds", 2, "--fold", "all")]
    )
    def test_with_options_that_are_not_for_one_run(self, refused, trained, option):
        assert refused("train", "--resume", trained, *option) == (
            "--resume continues one run with its own config.yaml; leave out --config and --fold all"
        )

    def test_invalid_extensions(self, refused, trained):
        assert (
            refused("train", "--extend-epochs", 9)
            == "--extend-epochs goes with --resume RUN; a new run takes --epochs"
        )
        assert (
            refused("train", "--resume", trained, "--extend-epochs", 1)
            == f"{trained}: cannot be extended from 2 to 1 epochs; give more"
        )

    def test_checkpoint_of_other_classes(self, refused, trained):
        stop(trained)
        config = trained / "config.yaml"
        config.write_text(config.read_text().replace("name: lv\n", "name: left\n"))
        message = refused("train", "--resume", trained)
        assert (
            "  classes.names: ['background', 'rv', 'myo', 'lv'] in the run, ['background', 'rv', "
            "'myo', 'left'] now\n" in message
        )

    def test_damaged_checkpoint(self, refused, trained):
        (trained / "last.pt").write_bytes(b"no checkpoint")
        stop(trained)
        assert refused("train", "--resume", trained).startswith(
            f"{trained}/last.pt: not a checkpoint, or a damaged one"
        )


class TestRuns:
    @pytest.fixture(params=["evaluate", "submit"])
    def predict(self, request, refused, paired_folder):
        """A command that loads runs, told where to write."""
        ending = {
            "evaluate": ["--out", "scores"],
            "submit": ["--data", paired_folder, "--out", "s.csv", "--masks", "masks"],
        }[request.param]
        start = [request.param, "--runs"] if request.param == "submit" else [request.param]
        return lambda *arguments: refused(*start, *arguments, *ending)

    @pytest.fixture
    def other(self, trained):
        """A checkpoint of the same network for classes of other names."""
        best = load_checkpoint(trained / "best.pt")
        config = with_overrides(
            best.config, {"classes.names": ["background", "right", "wall", "left"]}
        )
        save_checkpoint(Path("other.pt"), replace(best, config=config))
        return Path("other.pt")

    def test_no_checkpoint(self, predict, trained):
        Path("text.pt").write_text("hello")
        torch.save({"weights": 1}, "foreign.pt")
        assert (
            predict("text.pt")
            == "text.pt: not a checkpoint, or a damaged one; give a run folder or its best.pt"
        )
        assert (
            predict("foreign.pt")
            == "foreign.pt: a torch file, but not a checkpoint of acdc_seg; give a run folder or "
            "its best.pt"
        )
        assert (
            predict(trained, "gone.pt")
            == "gone.pt: cannot read the checkpoint (No such file or directory); check the path"
        )

    def test_folder_without_best(self, predict, trained):
        (trained / "best.pt").unlink()
        assert (
            predict(trained)
            == f"{trained}: no best.pt in this folder; give a folder that acdc-train finished an "
            "epoch in"
        )

    def test_members_of_other_classes(self, predict, trained, other):
        message = predict(trained, other)
        assert message.startswith(
            f"{trained}, other.pt: the models do not share their classes: background, right, "
            "wall, left against background, rv"
        )

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ("2;1", "--weights 2;1: write a number for each run, for example 2 1 1"),
            ("2,1,1", "3 weights for 2 members; give one weight each"),
            ("2", "1 weights for 2 members; give one weight each"),
            ("1,-1", "weights [1.0, -1.0] must be numbers from 0 up, not all 0"),
            ("0,0", "weights [0.0, 0.0] must be numbers from 0 up, not all 0"),
        ],
    )
    def test_weights(self, predict, trained, weights, message):
        assert predict(trained, trained, "--weights", weights).endswith(message)

    def test_weights_of_one_run(self, predict, trained):
        assert (
            predict(trained, "--weights", "2,1")
            == f"{trained}: 2 weights for 1 members; give one weight each"
        )

    def test_unknown_options(self, predict, trained):
        assert (
            predict(trained, "--tta", "flip")
            == "test-time augmentation 'flip' is unknown; choose from: flips, dihedral"
        )
        assert predict(trained, "--device", "tpu").startswith("device 'tpu' is unknown")
        assert predict(trained, "--precision", "fp8").startswith("precision 'fp8' is unknown")


class TestEvaluate:
    def test_unknown_split(self, refused, trained):
        assert (
            refused("evaluate", trained, "--split", "tets")
            == "split 'tets' is unknown; did you mean 'test'?"
        )

    def test_ensemble_needs_an_output_folder(self, refused, trained):
        assert refused("evaluate", trained, trained) == (
            "several runs are averaged: give --out FOLDER for the scores of their soft vote; to "
            f"compare them: acdc-evaluate {trained} {trained} --table models.md"
        )

    def test_unwritable_paths(self, refused, trained):
        Path("file").touch()
        assert refused("evaluate", trained, "--out", "file").startswith(
            "file/metrics.csv: cannot write this file (File exists)"
        )
        assert refused("evaluate", trained, "--out", "/proc/x").startswith(
            "/proc/x/metrics.csv: cannot write this file ("
        )

    def test_images_without_masks(self, refused, trained, paired_folder):
        shutil.rmtree(paired_folder / "test/mask")
        message = refused("evaluate", trained, "--data", paired_folder, "--split", "test")
        assert (
            message
            == "2 images have no mask to compare with, first patient004_0, patient004_1; evaluate "
            "a split with masks"
        )


class TestSubmit:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--data", "hearts"],
            ["--from-masks", "a", "--check", "b"],
            ["--runs", "runs/unet", "--check", "b"],
        ],
    )
    def test_exactly_one_mode(self, refused, arguments):
        assert (
            refused("submit", *arguments)
            == "give one of --runs RUN [RUN ...] --data DIR, --from-masks DIR, or --check CSV"
        )

    def test_runs_need_data(self, refused):
        assert (
            refused("submit", "--runs", "runs/unet")
            == "--runs needs --data DIR, the folder of the images to predict"
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--from-masks", "m", "--tta", "flips"],
                "--tta has no effect with --from-masks, which takes --out, --run, --template; "
                "leave it out",
            ),
            (
                ["--check", "s.csv", "--tta", "flips"],
                "--tta has no effect with --check, which takes --data, --run, --template, --truth; "
                "leave it out",
            ),
            (
                ["--runs", "r", "--data", "d", "--truth", "t"],
                "--truth has no effect with --runs, which takes --batch-size, --data, ",
            ),
        ],
    )
    def test_options_of_another_mode(self, refused, arguments, message):
        assert refused("submit", *arguments).startswith(message)

    def test_folder_without_images(self, refused, trained):
        Path("empty").mkdir()
        for folder in ("empty", "nowhere"):
            assert refused("submit", "--runs", trained, "--data", folder).startswith(
                f"{folder}: no images (.png, "
            )

    def test_template(self, refused, trained, paired_folder, command):
        submit = ("submit", "--runs", trained, "--data", paired_folder, "--masks", "masks")
        assert command(*submit, "--out", "given.csv").code == 0
        shutil.rmtree("masks")
        lines = Path("given.csv").read_text().splitlines()
        Path("short.csv").write_text("\n".join(lines[:-1]) + "\n")
        Path("long.csv").write_text("\n".join([*lines, "cmr1_mask1,"]) + "\n")
        assert refused(*submit, "--template", "short.csv").startswith(
            "short.csv: 1 ids are not in the template (patient004_1_mask3)"
        )
        assert refused(*submit, "--template", "long.csv").startswith(
            "long.csv: 1 ids are missing (cmr1_mask1)"
        )
        assert refused(*submit, "--template", "gone.csv").startswith(
            "gone.csv: cannot read this file (No such file or directory)"
        )

    def test_unwritable_paths(self, refused, trained, paired_folder):
        Path("folder").mkdir()
        for out in ("folder", "/proc/s.csv"):
            message = refused(
                "submit",
                "--runs",
                trained,
                "--data",
                paired_folder,
                "--out",
                out,
                "--masks",
                "masks",
            )
            assert message.startswith(f"{out}: cannot write this file (")

    def test_damaged_test_image(self, refused, trained, paired_folder):
        image = paired_folder / "test/image/patient004_1.png"
        image.write_bytes(image.read_bytes()[:300])
        assert refused("submit", "--runs", trained, "--data", paired_folder).startswith(
            f"{image}: not a readable image (300 bytes"
        )

    def test_masks_to_encode(self, refused, paired_folder):
        Path("empty").mkdir()
        assert (
            refused("submit", "--from-masks", "empty")
            == "empty: no masks; check the folder and data.mask_pattern"
        )
        change(paired_folder / MASK, set_first_pixel)
        assert "the mask contains value 4 (1 pixels)" in refused(
            "submit", "--from-masks", paired_folder / "train/mask"
        )

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "s.csv: the first line must be 'id,encoding', found 'nothing'"),
            ("id,rle\n", "s.csv: the first line must be 'id,encoding', found 'id,rle'"),
            ("id,encoding\na_mask1,1 2,3\n", "s.csv, line 2: 3 columns instead of 2"),
            (
                "id,encoding\na_mask1,\na_mask1,\n",
                "s.csv, line 3: the id 'a_mask1' is empty or occurs twice",
            ),
        ],
    )
    def test_check_of_a_malformed_table(self, refused, content, message):
        Path("s.csv").write_text(content)
        assert refused("submit", "--check", "s.csv") == message

    def test_check_of_a_missing_table_or_truth(self, refused):
        assert refused("submit", "--check", "gone.csv").startswith(
            "gone.csv: cannot read this file (No such file or directory)"
        )
        Path("s.csv").write_text("id,encoding\na_mask1,\n")
        assert refused("submit", "--check", "s.csv", "--truth", "gone").startswith(
            "gone: no masks; check"
        )


class TestData:
    def test_prepare_needs_an_acdc_tree(self, refused, paired_folder):
        assert refused("data", "prepare", "gone").startswith(
            "gone: no such folder, expected ACDC tree (patient001/Info.cfg"
        )
        assert refused("data", "prepare", paired_folder).startswith(
            f"{paired_folder}: holds 16 .png files in test/image/, test/mask/, train/image/, 3 "
            "more folders, not recognized as ACDC tree (patient001/Info.cfg"
        )

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            (("--size", "9x"), "--size 9x: write pixels as 96, or as 96x128 (height x width)"),
            (
                ("--size", "1x2x3"),
                "--size 1x2x3: write pixels as 96, or as 96x128 (height x width)",
            ),
            (("--size", "big"), "--size big: write pixels as 96, or as 96x128 (height x width)"),
            (
                ("--size", "0x9"),
                "prepare.size.0: got 0; input should be greater than or equal to 1",
            ),
            (
                ("--spacing", "nativ"),
                "--spacing nativ: write a pixel size in mm, for example 1.8, or native",
            ),
            (("--spacing", "0"), "prepare.spacing: got 0.0; input should be greater than 0"),
            (("--crop", "hart"), "prepare.crop: got 'hart'; did you mean 'heart'?"),
            (("--phases", "ED,EX"), "prepare.phases.1: got 'EX'; choose from: ED, ES"),
            (("--slices", "midd"), "prepare.slices: got 'midd'; did you mean 'mid'?"),
            (
                ("--interpolation", "cubic"),
                "prepare.interpolation: got 'cubic'; choose from: linear, nearest",
            ),
            (("--val-fraction", "2"), "data.val_fraction: got 2.0; input should be less than 1"),
            (("--splits", "gone.json"), "gone.json: cannot read these splits ("),
        ],
    )
    def test_options_of_prepare(self, refused, option, message):
        assert refused("data", "prepare", "tree", *option).startswith(message)

    def test_existing_and_unwritable_folders(self, refused, tree):
        Path("file").touch()
        small = ("--patients", 1, "--test-patients", 0)
        for out in (tree, "file"):
            assert refused("data", "synthesize", out, *small).startswith(
                f"{out}: exists already and is not an empty folder"
            )
            assert refused("data", "prepare", tree, "--out", out).startswith(
                f"{out}: exists already and is not an empty folder"
            )
        assert refused("data", "synthesize", "/proc/x", *small).startswith(
            "/proc/x: cannot write this folder ("
        )
        assert refused("data", "prepare", tree, "--out", "/proc/x").startswith(
            "/proc/x: cannot write this folder ("
        )

    def test_info(self, refused, paired_folder):
        assert refused("data", "info", "gone").startswith("gone: no such folder")
        assert (
            refused("data", "info", paired_folder, "data.chanels=3")
            == "data.chanels: unknown setting; did you mean 'channels'?"
        )
        change(paired_folder / VAL_MASK, lambda pixels: pixels[:, :40])
        assert "patient003_1_mask.png: the mask is 48x40, its image" in refused(
            "data", "info", paired_folder
        )


def test_debug_shows_the_traceback(command):
    from acdc_seg.errors import ConfigError

    with pytest.raises(ConfigError, match="'unett' is unknown"):
        command("train", "--model", "unett", "--debug")
