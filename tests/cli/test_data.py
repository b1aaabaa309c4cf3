import json
from pathlib import Path

import pytest

from acdc_seg.data.record import SPLITS


def prepared_sizes(command, folder: Path) -> str:
    (line,) = [
        line for line in command("data", "info", folder).out.splitlines() if line.startswith("size")
    ]
    return line


def test_synthesize_writes_a_tree_that_the_seed_fixes(command, tree):
    outcome = command(
        "data", "synthesize", "hearts one", "--patients", 1, "--test-patients", 0, "--seed", 1
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "Wrote 'hearts one': 1 patients. Next: acdc-data prepare 'hearts one'\n"
    files = sorted(
        path.relative_to("hearts one") for path in Path("hearts one").rglob("*") if path.is_file()
    )
    assert len(files) == 5
    assert all(
        (Path("hearts one") / file).read_bytes() == (tree / file).read_bytes() for file in files
    )


@pytest.mark.parametrize(
    ("kind", "wrote", "next_command"),
    [
        (
            "streets",
            "5 street scenes",
            "acdc-train --model enet --data data/streets classes=cityscapes8",
        ),
        (
            "pets",
            "4 images",
            "acdc-train --model unet --data data/pets classes=binary data.channels=3 loss.name=bce",
        ),
    ],
)
def test_synthesize_other_kinds(command, kind, wrote, next_command):
    numbers = ("--images", 4, "--size", 32, "--seed", 1)
    outcome = command("data", "synthesize", "--kind", kind, *numbers)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"Wrote data/{kind}: {wrote}. Next: {next_command}\n"
    assert command("data", "synthesize", "again", "--kind", kind, *numbers).code == 0
    files = [path for path in Path("again").rglob("*") if path.is_file()]
    assert all(
        path.read_bytes() == (Path("data", kind) / path.relative_to("again")).read_bytes()
        for path in files
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "street"], "unknown --kind 'street': did you mean 'streets'?"),
        (
            ["--kind", "pets", "--patients", "3"],
            "--patients, --test-patients, --first and --cine are for",
        ),
        (
            ["--kind", "streets", "--cine"],
            "--patients, --test-patients, --first and --cine are for",
        ),
        (["--size", "64"], "--images and --size for the other kinds"),
        (["data/builtin-phantom"], "the folder of the built-in phantom"),
        (["data/builtin-phantom/mine", "--kind", "pets"], "the folder of the built-in phantom"),
    ],
)
def test_synthesize_refuses(command, words, message):
    outcome = command("data", "synthesize", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("data").exists()


def test_synthesize_spares_the_built_in_phantom_of_another_work_dir(command, monkeypatch):
    monkeypatch.setenv("ACDC_WORK_DIR", "made")
    assert command("data", "synthesize", "made/../made/builtin-phantom").code == 2
    small = ("--kind", "pets", "--images", 1, "--size", 32)
    assert command("data", "synthesize", "data/builtin-phantom", *small).code == 0


def test_prepare(command, tree):
    outcome = command("data", "prepare", tree, "--slices", "mid", "--size", 64)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "train     4 images of 2 patients",
        "val       2 images of 1 patients",
        "test      2 images of 1 patients",
        "Wrote data/slices. Next: acdc-train --model unet --data data/slices",
    ]
    assert prepared_sizes(command, Path("data/slices")) == "size 64 x 64"


def test_prepare_with_every_option(command, tree):
    splits = {"train": ["patient001"], "val": ["patient002"], "test": []}
    Path("splits.json").write_text(json.dumps(splits))
    geometry = (
        "--spacing",
        "native",
        "--size",
        "64X48",
        "--crop",
        "center",
        "--interpolation",
        "nearest",
    )
    outcome = command(
        "data",
        "prepare",
        tree,
        "--out",
        "cut",
        *geometry,
        "--phases",
        "ES",
        "--splits",
        "splits.json",
    )
    assert outcome.code == 0
    assert "2 patients are in no split and were left out" in outcome.out
    assert prepared_sizes(command, Path("cut")) == "size 64 x 48"
    settings = json.loads(Path("cut/prepare.json").read_text())["settings"]
    assert settings == {
        "spacing": None,
        "size": [64, 48],
        "crop": "center",
        "slices": "all",
        "interpolation": "nearest",
        "phases": ["ES"],
    }
    assert json.loads(Path("cut/splits.json").read_text()) == splits
    assert {
        path.name.split("_")[1]
        for split in SPLITS
        for path in Path("cut").glob(f"{split}/image/*.png")
    } == {"ES"}


def test_phases_may_have_spaces(command, tree):
    assert command("data", "prepare", tree, "--slices", "mid", "--phases", "ES, ED").code == 0
    assert json.loads(Path("data/slices/prepare.json").read_text())["settings"]["phases"] == [
        "ES",
        "ED",
    ]


def test_info_of_a_tree(command, tree):
    outcome = command("data", "info", tree)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{tree}: ACDC tree, 8 volumes of 4 patients\n")
    assert "train: 6 volumes of 3 patients, 6 masks" in outcome.out


def test_info_takes_settings(command, hearts, write_png):
    image, mask = hearts[0]
    write_png(Path("scaled/image/a.png"), image)
    write_png(Path("scaled/mask/a_mask.png"), mask * 85)
    assert command("data", "info", "scaled").code == 2
    outcome = command("data", "info", "scaled", "classes.values=[0,85,170,255]")
    assert outcome.code == 0
    assert f"rv {(mask == 1).mean():.1%}" in outcome.out
