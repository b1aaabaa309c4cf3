import json

import pytest

from acdc_seg.config import MODEL_SECTIONS


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_list_in_the_order_of_the_registry(command):
    outcome = command("models")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    rows = [cells(line) for line in lines if line.startswith("│")]
    assert [row[0] for row in rows] == list(MODEL_SECTIONS)
    assert rows[0] == ["unet", "U-Net", "7,762,564", "3.39", "16"]
    assert rows[list(MODEL_SECTIONS).index("deeplab_drn")] == [
        "deeplab_drn",
        "DeepLabV3+ on DRN-D-54",
        "40,731,124",
        "12.18",
        "8",
    ]
    assert (
        lines[-2]
        == "GFLOP: the forward pass of one 1 x 96 x 96 image to 4 classes; a multiply-add is 2 "
        "FLOP."
    )
    assert lines[-1] == "Next: acdc-models unet for its layers, or acdc-train --model unet"
    assert max(len(line) for line in lines if line.startswith("│")) <= 80


def test_layers_of_one_network(command):
    outcome = command(
        "models", "unet", "model.depth=2", "--in-channels", 3, "--num-classes", 2, "--size", 32
    )
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "unet: U-Net (Ronneberger 2015), output stride 2"
    assert lines[1].startswith("Options: depth=2, base_channels=32, ")
    rows = [cells(line) for line in lines if line.startswith("│")]
    assert rows[0] == [
        "encoder.levels.0",
        "32 x 32 x 32",
        "10,208",
        "0.021",
    ]  # (3 + 32) * 32 * 9 weights, 2 * 64 of the norms
    assert rows[-2] == ["head", "2 x 32 x 32", "66", "0.000"]
    assert rows[-1][0] == "total"
    assert int(rows[-1][2].replace(",", "")) == sum(
        int(row[2].replace(",", "")) for row in rows[:-1]
    )
    assert (
        lines[-2]
        == "GFLOP: the forward pass of one 3 x 32 x 32 image to 2 classes; a multiply-add is 2 "
        "FLOP."
    )
    assert lines[-1] == "Next: acdc-train --model unet model.depth=2"


def test_depth_of_the_layers(command):
    outcome = command("models", "deeplab_drn", "--depth", 1)
    rows = [cells(line) for line in outcome.out.splitlines() if line.startswith("│")]
    assert [row[:2] for row in rows] == [
        ["encoder", "256 x 24 x 24"],
        ["", "512 x 12 x 12"],
        ["decoder", "256 x 24 x 24"],
        ["head", "4 x 24 x 24"],
        ["total", ""],
    ]


def test_json_has_plain_numbers(command):
    outcome = command(
        "models",
        "unet",
        "model.depth=1",
        "model.base_channels=2",
        "--size",
        32,
        "--depth",
        1,
        "--json",
    )
    assert (outcome.code, outcome.err) == (0, "")
    tree = json.loads(outcome.out)
    (unet,) = tree.pop("models")
    assert tree == {"size": 32, "in_channels": 1, "num_classes": 4}
    options = unet.pop("options")
    assert (options["depth"], options["base_channels"]) == (1, 2)
    weights, head = 9 * (2 + 4), 2 * 4  # 1 -> 2 -> 2 channels, and the head
    assert unet == {
        "name": "unet",
        "architecture": "U-Net (Ronneberger 2015)",
        "num_parameters": weights + 8 + head + 4,
        "flop": 2 * (weights + head) * 32**2,
        "output_stride": 1,
        "layers": [
            {
                "name": "encoder",
                "shapes": [[2, 32, 32]],
                "num_parameters": weights + 8,
                "flop": 2 * weights * 32**2,
            },
            {"name": "decoder", "shapes": [[2, 32, 32]], "num_parameters": 0, "flop": 0},
            {
                "name": "head",
                "shapes": [[4, 32, 32]],
                "num_parameters": head + 4,
                "flop": 2 * head * 32**2,
            },
        ],
    }


def test_measure(command):
    small = (
        "unet",
        "model.depth=2",
        "model.base_channels=2",
        "--size",
        32,
        "--batch-size",
        2,
        "--device",
        "cpu",
        "--precision",
        "fp32",
    )
    tree = json.loads(command("models", *small, "--measure", "--json").out)
    assert (tree["batch_size"], tree["device"], tree["precision"]) == (2, "cpu", "fp32")
    assert set(tree["models"][0]["images_per_second"]) == {"train", "predict"}
    assert min(tree["models"][0]["images_per_second"].values()) > 0
    assert (
        command("models", *small, "--measure")
        .out.splitlines()[-2]
        .endswith(" in prediction, batches of 2 in fp32 on cpu.")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unett"], "model 'unett' is unknown: did you mean 'unet'?"),
        (["unet", "model.depht=2"], "model.depht: unknown setting; did you mean 'depth'?"),
        (
            ["unet", "train.epochs=3"],
            "'train.epochs=3' is not an option of unet: expected model.option=value",
        ),
        (
            ["unet", "model.name=enet"],
            "'model.name=enet' is not an option of unet: expected model.option=value",
        ),
        (
            ["unet", "--measure", "--precision", "fp8"],
            "precision 'fp8' is unknown; choose from: auto, fp32, bf16, fp16",
        ),
    ],
)
def test_mistakes(command, arguments, message):
    outcome = command("models", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"Error: {message}")
