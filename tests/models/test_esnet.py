import pytest
import torch
from torch import nn

from acdc_seg.errors import ConfigError
from acdc_seg.models.esnet import ESNet, FactorizedBlock, factorized_conv


@pytest.fixture(scope="module")
def model() -> ESNet:
    return ESNet(3, 8).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_published_number_of_parameters(model: ESNet) -> None:
    assert count(model) == 1_658_356


def test_blocks_counted_by_hand() -> None:
    fcu = FactorizedBlock(4, 5, dilations=(1,), dropout=0.0)
    pfcu = FactorizedBlock(4, 3, dilations=(2, 5, 9), dropout=0.3)
    assert count(fcu) == 4 * (5 * 4 * 4 + 4) + 2 * 2 * 4
    assert (
        count(pfcu) == 8 * (3 * 4 * 4 + 4) + 2 * 2 * 4
    )  # two BatchNorms, whatever the number of branches


@torch.inference_mode()
def test_three_halvings_and_two_doublings_before_the_head(model: ESNet) -> None:
    x = torch.randn(2, 3, 64, 96)
    shapes = []
    for stage in [*model.encoder.children(), *model.decoder.children(), model.head]:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        (16, 32, 48),
        (64, 16, 24),
        (128, 8, 12),
        (64, 16, 24),
        (16, 32, 48),
        (8, 64, 96),
    ]


def test_table_of_factorised_blocks(model: ESNet) -> None:
    blocks = [module for module in model.modules() if isinstance(module, FactorizedBlock)]
    rows = [
        (block.first.get_submodule("0.0"), len(block.branches), block.norm.get_submodule("1"))
        for block in blocks
    ]
    table = [(conv.kernel_size, branches, dropout.p) for conv, branches, dropout in rows]
    encoder = 3 * [((3, 1), 1, 0.03)] + 2 * [((5, 1), 1, 0.03)] + 3 * [((3, 1), 3, 0.3)]
    decoder = 2 * [((5, 1), 1, 0.0)] + 2 * [((3, 1), 1, 0.0)]
    assert table == encoder + decoder
    assert [pair.get_submodule("0").dilation for pair in blocks[-5].branches] == [
        (2, 1),
        (5, 1),
        (9, 1),
    ]


def test_every_convolution_has_a_bias_and_every_norm_the_papers_epsilon(model: ESNet) -> None:
    assert all(
        module.bias is not None
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    )
    assert {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {
        1e-3
    }


@torch.inference_mode()
@pytest.mark.parametrize("dilation", [2, 5, 9])
def test_taps_are_a_dilation_apart_in_both_directions(dilation: int) -> None:
    pair = factorized_conv(1, 3, dilation=dilation)
    for name, value in pair.state_dict().items():
        value.fill_(1.0 if "weight" in name else 0.0)
    impulse = torch.zeros(1, 1, 21, 21)
    impulse[0, 0, 10, 10] = 1.0
    taps = [10 - dilation, 10, 10 + dilation]
    assert pair(impulse)[0, 0].nonzero().tolist() == [
        [row, column] for row in taps for column in taps
    ]


def test_branches_share_the_statistics_of_one_norm() -> None:
    torch.manual_seed(0)
    block = FactorizedBlock(4, 3, dilations=(2, 5, 9), dropout=0.0).train()
    x = torch.randn(2, 4, 12, 12)
    block(x)
    y = block.first(x)
    mean = torch.stack([branch(y) for branch in block.branches]).mean((0, 1, 3, 4))
    torch.testing.assert_close(
        block.norm.get_submodule("0").state_dict()["running_mean"], 0.1 * mean.detach()
    )


@torch.inference_mode()
def test_branches_are_summed_with_the_input() -> None:
    block = FactorizedBlock(4, 3, dilations=(2, 5, 9), dropout=0.0).eval()
    state = {"weight": torch.zeros(4), "bias": torch.tensor([0.25, 0.5, 0.0, -0.25])}
    block.norm.get_submodule("0").load_state_dict(state, strict=False)
    x = torch.randn(2, 4, 12, 12)
    torch.testing.assert_close(block(x), (x + 3 * state["bias"].reshape(4, 1, 1)).relu())


def test_an_image_of_16_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"in_channels=16 leaves no room.*fewer than 16"):
        ESNet(16, 4)
