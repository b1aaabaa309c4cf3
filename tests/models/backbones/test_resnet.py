from typing import get_args

import pytest
import torch
from torch import nn

from acdc_seg.models.backbones.resnet import BasicBlock, Feature, ProjectedBlock, ResNet
from acdc_seg.models.blocks import Bottleneck

FEATURES = get_args(Feature)
PUBLIC = {
    "resnet34": (2, (3, 4, 6, 3)),
    "resnet50": (3, (3, 4, 6, 3)),
    "resnet101": (3, (3, 4, 23, 3)),
}  # convolutions per block, blocks


def build(
    name: str,
    *,
    output_stride: int = 32,
    multi_grid: tuple[int, int, int] | None = None,
    device: str = "meta",
) -> ResNet:
    with torch.device(device):
        return ResNet(
            name, 3, output_stride=output_stride, features=FEATURES, multi_grid=multi_grid
        ).eval()


def public_keys(convs: int, repeats: tuple[int, ...]) -> set[str]:
    """Names in a public checkpoint, less the classifier's: every convolution has no bias and is
    followed by a BatchNorm.
    """
    pairs = [("conv1", "bn1")]
    for layer, count in enumerate(repeats, start=1):
        for block in range(count):
            where = f"layer{layer}.{block}"
            pairs += [
                (f"{where}.conv{number}", f"{where}.bn{number}") for number in range(1, convs + 1)
            ]
        if convs == 3 or layer > 1:  # the first block changes the number of channels
            pairs.append((f"layer{layer}.0.downsample.0", f"layer{layer}.0.downsample.1"))
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{conv}.weight" for conv, _ in pairs} | {
        f"{bn}.{entry}" for _, bn in pairs for entry in norm
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_named_as_in_the_public_checkpoint(name: str) -> None:
    model = build(name)
    assert set(model.state_dict()) == public_keys(*PUBLIC[name])
    assert model.public_weights == name


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("resnet34", "conv1.weight", (64, 3, 7, 7)),
        ("resnet34", "layer1.0.conv1.weight", (64, 64, 3, 3)),
        ("resnet34", "layer4.0.downsample.0.weight", (512, 256, 1, 1)),
        ("resnet50", "layer1.0.downsample.0.weight", (256, 64, 1, 1)),
        ("resnet50", "layer2.0.conv2.weight", (128, 128, 3, 3)),
        ("resnet101", "layer3.22.conv1.weight", (256, 1024, 1, 1)),
        ("resnet101", "layer4.2.bn3.running_var", (2048,)),
    ],
)
def test_shapes_of_the_public_checkpoint(name: str, key: str, shape: tuple[int, ...]) -> None:
    assert build(name).state_dict()[key].shape == shape


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet34", 21_284_672), ("resnet50", 23_508_032), ("resnet101", 42_500_160)],
)
def test_published_number_of_parameters_without_the_classifier(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in build(name).parameters()) == count


def test_a_network_without_public_weights_names_none() -> None:
    assert not hasattr(build("resnet34_projected"), "public_weights")


@pytest.mark.parametrize(
    ("name", "expansion"),
    [("resnet34", 1), ("resnet34_projected", 1), ("resnet50", 4), ("resnet101", 4)],
)
@pytest.mark.parametrize(
    ("output_stride", "sizes"),
    [
        (8, [(49, 32), (25, 16), (13, 8), (13, 8), (13, 8)]),
        (16, [(49, 32), (25, 16), (13, 8), (7, 4), (7, 4)]),
        (32, [(49, 32), (25, 16), (13, 8), (7, 4), (4, 2)]),
    ],
)
def test_feature_maps(
    name: str, expansion: int, output_stride: int, sizes: list[tuple[int, int]]
) -> None:
    model = build(name, output_stride=output_stride)
    maps = model(torch.empty(2, 3, 97, 64, device="meta"))
    channels = [64, *(expansion * base for base in (64, 128, 256, 512))]
    assert [feature.shape for feature in maps] == [
        (2, width, *size) for width, size in zip(channels, sizes, strict=True)
    ]
    assert (model.low_channels, model.out_channels) == (channels[1], channels[-1])


def test_gives_the_maps_asked_for() -> None:
    with torch.device("meta"):
        low, high = ResNet("resnet101", 1, output_stride=16, features=["layer1", "layer4"])(
            torch.empty(2, 1, 32, 32)
        )
    assert (low.shape, high.shape) == ((2, 256, 8, 8), (2, 2048, 2, 2))


@torch.inference_mode()
def test_dilated_bottlenecks_compute_the_strided_network_at_more_positions() -> None:
    torch.manual_seed(0)
    strided = build("resnet50", device="cpu")
    image = torch.randn(1, 3, 97, 64)
    coarse = strided(image)[-1]  # (1, 2048, 4, 2)
    for output_stride in (8, 16):
        dilated = build("resnet50", output_stride=output_stride)
        dilated.load_state_dict(strided.state_dict(), assign=True)
        step = 32 // output_stride
        fine = dilated(image)[-1][:, :, ::step, ::step]
        torch.testing.assert_close(fine, coarse, rtol=1e-4, atol=1e-4 * coarse.std().item())


@pytest.mark.parametrize(
    ("output_stride", "multi_grid", "layer3", "layer4"),
    [
        (32, None, [1, 1, 1, 1, 1, 1], [1, 1, 1]),
        (16, None, [1, 1, 1, 1, 1, 1], [1, 2, 2]),
        (8, None, [1, 2, 2, 2, 2, 2], [2, 4, 4]),
        (16, (1, 2, 4), [1, 1, 1, 1, 1, 1], [2, 4, 8]),
        (8, (1, 2, 4), [1, 2, 2, 2, 2, 2], [4, 8, 16]),
    ],
)
def test_dilations(
    output_stride: int,
    multi_grid: tuple[int, int, int] | None,
    layer3: list[int],
    layer4: list[int],
) -> None:
    model = build("resnet50", output_stride=output_stride, multi_grid=multi_grid)
    found = {
        name: module.dilation[0] for name, module in model.named_modules() if name.endswith("conv2")
    }
    assert [dilation for name, dilation in found.items() if name.startswith("layer3")] == layer3
    assert [dilation for name, dilation in found.items() if name.startswith("layer4")] == layer4


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_block_adds_its_input_and_rectifies_the_sum(block: type[BasicBlock | Bottleneck]) -> None:
    residual = block(4 * block.expansion, 4, stride=1, dilation=1)
    for module in residual.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
    x = torch.randn(2, 4 * block.expansion, 5, 5)
    assert torch.equal(residual(x), x.relu())


@torch.inference_mode()
def test_a_projected_block_is_linear_in_its_shortcut() -> None:
    block = ProjectedBlock(1, 1, stride=2, dilation=1).eval()
    state = {
        key: torch.zeros_like(value)
        for key, value in block.state_dict().items()
        if "running" not in key
    }
    state["shortcut.0.weight"] += 2.0
    state["shortcut.0.bias"] -= 1.0
    state["shortcut.1.weight"] += 1.0
    block.load_state_dict(state, strict=False)
    x = torch.tensor([[-1.0, 9.0], [9.0, 9.0]]).reshape(1, 1, 2, 2)
    assert block(x).item() == pytest.approx(
        2 * -1 - 1, rel=1e-4
    )  # BatchNorm divides by sqrt(1 + 1e-5)


def test_every_block_of_the_projected_network_has_a_projection() -> None:
    model = build("resnet34_projected")
    names = [name for name in model.state_dict() if name.endswith("shortcut.0.bias")]
    assert len(names) == 3 + 4 + 6 + 3


@pytest.mark.parametrize(
    ("name", "scales"),
    [
        ("resnet34", {"layer4.2.bn1": 1.0, "layer4.2.bn2": 0.25, "layer4.0.downsample.1": 1.0}),
        ("resnet50", {"layer4.2.bn2": 1.0, "layer4.2.bn3": 0.25, "layer4.0.downsample.1": 1.0}),
        (
            "resnet34_projected",
            {"layer4.2.convs.0.1": 1.0, "layer4.2.convs.2": 0.5, "layer4.2.shortcut.1": 0.5},
        ),
    ],
)
def test_residual_branches_start_small(name: str, scales: dict[str, float]) -> None:
    state = build(name, device="cpu").state_dict()
    assert {key: state[f"{key}.weight"].unique().item() for key in scales} == scales


@torch.inference_mode()
def test_sums_do_not_grow_from_block_to_block() -> None:
    torch.manual_seed(0)
    stem, *_, last = build("resnet101", output_stride=16, device="cpu")(torch.randn(1, 3, 64, 64))
    assert last.std() < 10 * stem.std()  # without small branches 10,000 times
