"""Weights of other libraries, in files whose names of layers are written down here.

timm's names are those of its `EfficientNet`, `InvertedResidual` and `DepthwiseSeparableConv`
(huggingface/pytorch-image-models, timm/models/_efficientnet_blocks.py), SSL4MIS's those of
HiLab-git/SSL4MIS, code/networks/unet.py, Pytorch-UNet's those of milesial/Pytorch-UNet,
unet/unet_parts.py; torchvision's and segmentation_models_pytorch's are this package's with a
prefix. MONAI's come from MONAI. Layers are in the order of the networks, as ours are.
"""

import re

import pytest
import torch
from torch import nn

from acdc_seg.errors import CheckpointError
from acdc_seg.models import create_model
from acdc_seg.models.pretrained import load_pretrained

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
MOBILENET_STAGES = (1, 2, 3, 4, 3, 3, 1)
B0_STAGES = (1, 2, 2, 3, 3, 4, 1)


class SmallEncoder(nn.Sequential):
    """Stands for a network whose layers have the same names everywhere."""

    public_weights = "resnet34"

    def __init__(self):
        super().__init__(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def convolution(name, *, bias=False):
    return [f"{name}.weight", f"{name}.bias"] if bias else [f"{name}.weight"]


def norm(name):
    return [f"{name}.{kind}" for kind in BATCH_NORM]


def timm_names(stages, *, squeeze):
    """Of an EfficientNet or a MobileNetV2, without its top."""
    excite = []
    if squeeze:
        for part in ("reduce", "expand"):
            excite += convolution(f"se.conv_{part}", bias=True)
    first = [*convolution("conv_dw"), *norm("bn1"), *excite, *convolution("conv_pw"), *norm("bn2")]
    other = [*convolution("conv_pw"), *norm("bn1"), *convolution("conv_dw"), *norm("bn2"), *excite]
    other += [*convolution("conv_pwl"), *norm("bn3")]
    names = [*convolution("conv_stem"), *norm("bn1")]
    for stage, count in enumerate(stages):
        for block in range(count):
            layers = other if stage else first
            names += [f"blocks.{stage}.{block}.{layer}" for layer in layers]
    return names


def unet_names(first, deeper, places, *, bias):
    """Of a U-Net with five levels, from the names of its blocks and places in them."""
    names = []
    for level in range(5):
        block = first if level == 0 else deeper.format(level)
        for conv, batch_norm in places:
            names += convolution(f"{block}.{conv}", bias=bias) + norm(f"{block}.{batch_norm}")
    return names


def fill(network, seed=1):
    """Other weights than those of a new network, batch norms included."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator))
    return network


def ours(name, **options):
    channels = options.pop("in_channels", 1)
    return create_model(name, channels, 4, **options).encoder


CASES = {
    "timm mobilenetv2_100": (
        "deeplab_mobilenet",
        {},
        timm_names(MOBILENET_STAGES, squeeze=False),
        ["conv_head.weight", *norm("bn2"), *convolution("classifier", bias=True)],
    ),
    "timm tf_efficientnet_b0": (
        "effunet",
        {"variant": "b0"},
        timm_names(B0_STAGES, squeeze=True),
        ["conv_head.weight", *norm("bn2"), *convolution("classifier", bias=True)],
    ),
    "SSL4MIS unet": (
        "unet",
        {"depth": 5, "base_channels": 16, "conv_bias": True},
        unet_names(
            "encoder.in_conv.conv_conv",
            "encoder.down{}.maxpool_conv.1.conv_conv",
            ((0, 1), (4, 5)),
            bias=True,
        ),
        [*convolution("decoder.up1.conv1x1", bias=True), "decoder.out_conv.weight"],
    ),
    "Pytorch-UNet": (
        "unet",
        {"depth": 5, "base_channels": 4, "conv_bias": False},
        unet_names(
            "inc.double_conv", "down{}.maxpool_conv.1.double_conv", ((0, 1), (3, 4)), bias=False
        ),
        ["up1.up.weight", *norm("up4.conv.double_conv.1"), "outc.conv.weight"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_names_of_another_library(case, tmp_path):
    model, options, names, top = CASES[case]
    source, encoder = fill(ours(model, **options)), ours(model, **options)
    state = source.state_dict()
    assert len(names) == len(state)
    content = dict(zip(names, state.values(), strict=True))
    content |= {name: torch.zeros(2) for name in top}
    torch.save({"state_dict": content}, tmp_path / "a.pth")
    load_pretrained(encoder, str(tmp_path / "a.pth"))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, state[name]), name

    lost = names[len(names) // 2 - 1]
    torch.save({name: content[name] for name in content if name != lost}, tmp_path / "b.pth")
    if not lost.endswith("num_batches_tracked"):
        with pytest.raises(CheckpointError, match="missing"):
            load_pretrained(encoder, str(tmp_path / "b.pth"))
    extra = "encoder.extra" if names[0].startswith("encoder.") else "extra"
    torch.save(content | {extra: torch.zeros(1)}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="unknown extra"):
        load_pretrained(encoder, str(tmp_path / "c.pth"))


def monai_network(name):
    from monai.networks.nets import basic_unet, dynunet, swin_unetr

    if name == "basic_unet":
        return basic_unet.BasicUNet(2, 1, 4)
    if name == "swin_unet":
        return swin_unetr.SwinUNETR(1, 4, feature_size=12, spatial_dims=2)
    sizes = {"kernel_size": [3] * 5, "strides": [1, 2, 2, 2, 2], "upsample_kernel_size": [2] * 4}
    filters = [4, 8, 16, 32, 64]
    return dynunet.DynUNet(2, 1, 4, **sizes, filters=filters, res_block=True)


OPTIONS = {"dynunet": {"base_channels": 4, "res_block": True}, "swin_unet": {"feature_size": 12}}


@pytest.mark.parametrize("name", ["basic_unet", "dynunet", "swin_unet"])
def test_the_encoder_of_a_network_of_monai(name, tmp_path):
    theirs = fill(monai_network(name)).eval()
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    model = create_model(name, 1, 4, **OPTIONS.get(name, {})).eval()
    before = {key: value.clone() for key, value in model.decoder.state_dict().items()}
    load_pretrained(model.encoder, str(tmp_path / "a.pt"))
    values = {value.flatten()[0].item() for value in theirs.state_dict().values() if value.numel()}
    for key, value in model.encoder.state_dict().items():
        if value.is_floating_point():
            assert value.flatten()[0].item() in values, key
    for key, value in model.decoder.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_features_of_monais_basic_unet_are_the_same(tmp_path):
    theirs = fill(monai_network("basic_unet")).eval()
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    encoder = ours("basic_unet").eval()
    load_pretrained(encoder, str(tmp_path / "a.pt"))
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        # its biases before instance norms, which ours leaves out, change nothing
        expected = theirs.down_1(theirs.conv_0(image))
        torch.testing.assert_close(encoder(image)[1], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("before", "others"),
    [
        ("", "fc.weight"),  # torchvision, timm
        ("encoder.", "decoder.blocks.0.conv1.0.weight"),  # segmentation_models_pytorch
        ("encoder.model.", "segmentation_head.0.weight"),  # its tu- encoders, of timm
        ("backbone.", "classifier.0.convs.0.0.weight"),  # torchvision's DeepLabV3 and FCN
        ("model.backbone.", "model.classifier.4.weight"),  # the same, trained with Lightning
        ("module.net.encoder.", "module.net.decoder.a.weight"),
    ],
)
def test_prefixes_of_wrappers(before, others, tmp_path):
    source = fill(SmallEncoder())
    content = {f"{before}{name}": value for name, value in source.state_dict().items()}
    torch.save(content | {others: torch.zeros(3)}, tmp_path / "a.pth")
    encoder = SmallEncoder()
    load_pretrained(encoder, str(tmp_path / "a.pth"))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def test_a_dialect_of_another_encoder_is_refused(tmp_path):
    names = timm_names(MOBILENET_STAGES, squeeze=False)
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"missing 0\.weight.*unknown conv_stem\.weight"):
        load_pretrained(SmallEncoder(), str(tmp_path / "a.pth"))


def test_volumes_of_monai_are_of_another_shape(tmp_path):
    from monai.networks.nets import basic_unet

    torch.save(basic_unet.BasicUNet(3, 1, 4).state_dict(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=re.escape("(32, 1, 3, 3, 3) for (32, 1, 3, 3)")):
        load_pretrained(ours("basic_unet"), str(tmp_path / "a.pt"))
