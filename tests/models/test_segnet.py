import pytest
import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.backbones.vgg import VGG16
from acdc_seg.models.segnet import SegNet, SegNetDecoder


@pytest.fixture(scope="module")
def model() -> SegNet:
    torch.manual_seed(0)
    return SegNet(3, 4, dropout=0.0).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_counted_by_hand(model: SegNet) -> None:
    encoder = (
        14_714_688 + 2 * 4224
    )  # thirteen convolutions with biases, and BatchNorm of their 4224 channels
    convs = (
        5 * 512 * 512 + 512 * 256 + 2 * 256 * 256 + 256 * 128 + 128 * 128 + 128 * 64 + 64 * 64
    )  # the first is the head's mirror
    norms = 5 * 512 + 256 * 3 + 128 * 2 + 64 * 2
    assert (count(model.encoder), count(model.decoder), count(model.head)) == (
        encoder,
        9 * convs + 2 * norms,
        9 * 64 * 4 + 4,
    )
    assert count(model) == pytest.approx(29_450_000, abs=50_000)


def test_encoder_is_named_as_the_public_checkpoint(model: SegNet) -> None:
    with torch.device("meta"):
        vgg = VGG16(3, norm=True)
    assert {key: value.shape for key, value in model.encoder.state_dict().items()} == {
        key: value.shape for key, value in vgg.state_dict().items()
    }
    assert model.encoder.public_weights == "vgg16_bn"


def test_decoder_mirrors_the_encoder(model: SegNet) -> None:
    channels = [
        (module.in_channels, module.out_channels)
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    mirrored = [(after, before) for before, after in reversed(channels[:13])]
    assert channels[13:] == [*mirrored[:12], (64, 4)]


@torch.inference_mode()
def test_encoder_gives_the_last_map_and_the_indices_of_five_pools(model: SegNet) -> None:
    x, indices = model.encoder(torch.randn(1, 3, 64, 32))
    assert x.shape == (1, 512, 2, 1)
    assert [tuple(places.shape[1:]) for places in indices] == [
        (64, 32, 16),
        (128, 16, 8),
        (256, 8, 4),
        (512, 4, 2),
        (512, 2, 1),
    ]


def test_dropout_acts_after_the_three_deepest_levels() -> None:
    model = SegNet(1, 2, dropout=0.3)
    sizes: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p == 0.3:
            module.register_forward_hook(
                lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:]))
            )
    model(torch.randn(1, 1, 32, 32))
    assert sizes == [(256, 4, 4), (512, 2, 2), (512, 1, 1), (512, 2, 2), (256, 4, 4), (128, 8, 8)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_maxima_and_their_gradients_return_to_where_they_were(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    decoder = SegNetDecoder(dropout=0.0)
    decoder.levels = nn.ModuleList(nn.Identity() for _ in range(5))
    peaks = torch.zeros(2, 3, 64, 64)
    peaks[..., 5::32, 22::32] = 2 + torch.arange(24.0).reshape(
        2, 3, 2, 2
    )  # one in each square of 32x32
    x = torch.where(peaks > 0, peaks, torch.rand_like(peaks)).to(dtype, memory_format=memory_format)
    indices = []
    for _ in range(5):
        x, places = F.max_pool2d(x, 2, return_indices=True)
        indices.append(places)
    y = decoder((x.requires_grad_(), indices))
    assert torch.equal(y, peaks.to(dtype))
    weights = torch.randn(2, 3, 64, 64).to(dtype)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    assert torch.equal(gradient, weights[..., 5::32, 22::32])


@torch.inference_mode()
def test_half_precision_in_channels_last_agrees_with_full_precision(model: SegNet) -> None:
    images = torch.randn(2, 3, 48, 48)
    logits = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images.to(memory_format=torch.channels_last))
    assert half.dtype == torch.bfloat16
    assert (
        F.cosine_similarity(half.flatten().float(), logits.flatten(), dim=0) > 0.95
    )  # near-ties move a maximum by a pixel
