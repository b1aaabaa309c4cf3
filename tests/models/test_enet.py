import pytest
import torch
from torch import nn

from acdc_seg.errors import ConfigError
from acdc_seg.models.enet import ConvPoolConcat, DownsamplingBottleneck, ENet, UpsamplingBottleneck


@pytest.fixture(scope="module")
def model() -> ENet:
    return ENet(3, 8).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def silence_extension(bottleneck: DownsamplingBottleneck | UpsamplingBottleneck) -> None:
    """Leaves the main branch alone: in eval mode the extension adds zero."""
    norm = bottleneck.eval().extension.get_submodule("2.1")
    norm.load_state_dict({"weight": torch.zeros_like(norm.get_parameter("weight"))}, strict=False)


def test_published_number_of_parameters(model: ENet) -> None:
    assert count(model) == 350_076


def test_initial_block_and_head_counted_by_hand() -> None:
    model = ENet(1, 4)
    assert count(model.encoder.get_submodule("initial")) == 1 * 15 * 9 + 2 * 16 + 1
    assert count(model.head) == 16 * 4 * 9


@torch.inference_mode()
def test_encoder_ends_at_stride_8_and_keeps_the_indices_of_its_poolings(model: ENet) -> None:
    x, indices = model.encoder(torch.randn(2, 3, 64, 96))
    assert x.shape == (2, 128, 8, 12)
    assert [tuple(pooled_from.shape) for pooled_from in indices] == [
        (2, 16, 16, 24),
        (2, 64, 8, 12),
    ]
    assert model.decoder((x, indices)).shape == (2, 16, 32, 48)


def test_sequence_of_main_convolutions(model: ENet) -> None:
    convs = [
        conv
        for conv in model.encoder.get_submodule("stages").modules()
        if isinstance(conv, nn.Conv2d)
    ]
    main = [(conv.kernel_size, conv.dilation[0]) for conv in convs if conv.kernel_size != (1, 1)]
    asymmetric = [((5, 1), 1), ((1, 5), 1)]
    first_half = [((3, 3), 1), ((3, 3), 2), *asymmetric, ((3, 3), 4)]
    second_half = [((3, 3), 1), ((3, 3), 8), *asymmetric, ((3, 3), 16)]
    assert main == 4 * [((3, 3), 1)] + 2 * (first_half + second_half)
    assert [
        len(list(stage.children())) for stage in model.decoder.get_submodule("stages").children()
    ] == [2, 1]


def test_dropout_grows_after_the_first_stage(model: ENet) -> None:
    def dropouts(part: str) -> list[float]:
        return [
            module.p
            for module in model.get_submodule(part).modules()
            if isinstance(module, nn.Dropout2d)
        ]

    assert dropouts("encoder.downs") == [0.01, 0.1]
    assert dropouts("encoder.stages") == 4 * [0.01] + 16 * [0.1]
    assert dropouts("decoder") == 5 * [0.1]


def test_prelu_encodes_relu_decodes_and_nothing_has_a_bias(model: ENet) -> None:
    assert not any(isinstance(module, nn.ReLU) for module in model.encoder.modules())
    assert not any(isinstance(module, nn.PReLU) for module in model.decoder.modules())
    assert all(
        module.num_parameters == 1 for module in model.modules() if isinstance(module, nn.PReLU)
    )
    assert all(
        module.bias is None
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    )


@torch.inference_mode()
def test_down_sampling_adds_the_maxima_in_the_first_channels() -> None:
    down = DownsamplingBottleneck(4, 6, dropout=0.0)
    silence_extension(down)
    x = torch.tensor([[1.0, 2.0], [4.0, 3.0]]).repeat(1, 4, 1, 1)  # (1, 4, 2, 2)
    y, indices = down(x)
    assert y.flatten().tolist() == [4.0] * 4 + [0.0] * 2
    assert indices.flatten().tolist() == [2] * 4  # row 1, column 0 of two columns


@torch.inference_mode()
def test_up_sampling_puts_values_where_the_maxima_were() -> None:
    up = UpsamplingBottleneck(4, 1, dropout=0.0)
    silence_extension(up)
    conv, norm = up.main.get_submodule("0"), up.main.get_submodule("1")
    conv.load_state_dict({"weight": torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1, 1)})
    norm.load_state_dict({"weight": torch.tensor([2.0])}, strict=False)
    x = torch.tensor([5.0, -1.0]).expand(
        1, 4, 1, 2
    )  # 10 after the 1x1, and a negative that ReLU cuts
    y = up(x, torch.tensor([[[[4, 3]]]]))
    assert y[0, 0].flatten().tolist() == pytest.approx([0, 0, 0, 0, 10, 0, 0, 0], abs=1e-3)


@torch.inference_mode()
def test_pooled_image_follows_the_convolved_channels() -> None:
    block = ConvPoolConcat(2, 5, pool=nn.MaxPool2d(2), bias=True)
    x = torch.randn(1, 2, 4, 4)
    y = block(x)
    assert y.shape == (1, 5, 2, 2)
    assert torch.equal(y[:, 3:], x.unflatten(3, (2, 2)).unflatten(2, (2, 2)).amax((3, 5)))


def test_an_image_of_16_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"in_channels=16 leaves no room.*fewer than 16"):
        ENet(16, 4)


def test_mixed_precision_and_channels_last_train_it() -> None:
    torch.manual_seed(0)
    model = ENet(1, 4).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(torch.randn(2, 1, 64, 64).to(memory_format=torch.channels_last))
    logits.float().square().mean().backward()
    assert all(
        parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters()
    )


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_the_pooled_image_takes_type_and_layout_of_the_convolved_channels(
    memory_format: torch.memory_format,
) -> None:
    block = ConvPoolConcat(1, 5, pool=nn.MaxPool2d(2), bias=False).to(memory_format=memory_format)  # type: ignore[call-overload]
    x = torch.randn(2, 1, 8, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=memory_format)
    assert torch.equal(y[:, 4:], block.pool(x).bfloat16())
