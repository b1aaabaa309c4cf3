from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.setr import SETR, ViTEncoder

SMALL: dict[str, Any] = {
    "patch_size": 8,
    "hidden_size": 12,
    "num_layers": 2,
    "num_heads": 3,
    "dropout": 0.0,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.fixture
def positions_alone() -> ViTEncoder:
    """An encoder that gives back its position embeddings."""
    encoder = SETR(1, 2, **SMALL).encoder
    assert isinstance(encoder, ViTEncoder)
    encoder.blocks, encoder.norm = nn.Sequential(), nn.Identity()  # type: ignore[assignment]
    nn.init.zeros_(encoder.patches.weight)
    nn.init.constant_(encoder.patches.get_parameter("bias"), 0.0)
    return encoder


def test_parameters_counted_by_hand() -> None:
    model = SETR(1, 4, patch_size=8, hidden_size=384, num_layers=8, num_heads=6, dropout=0.1)
    embedding = (8 * 8 * 384 + 384) + 12 * 12 * 384
    attention = 384 * 3 * 384 + (384 * 384 + 384)
    mlp = (384 * 1536 + 1536) + (1536 * 384 + 384)
    norm = 2 * 384
    assert count(model.encoder) == embedding + 8 * (attention + mlp + 2 * norm) + norm
    assert count(model.decoder) == 9 * (384 + 2 * 256) * 256 + 3 * 2 * 256
    assert count(model) == 16_334_468


@pytest.mark.parametrize(("patch_size", "convolutions"), [(4, 2), (8, 3), (16, 4)])
@torch.inference_mode()
def test_decoder_doubles_up_to_half_the_image(patch_size: int, convolutions: int) -> None:
    model = SETR(3, 4, **SMALL | {"patch_size": patch_size}).eval()
    features = model.encoder(torch.randn(1, 3, 64, 96))
    assert features.shape == (1, 12, 64 // patch_size, 96 // patch_size)
    assert model.decoder(features).shape == (1, 256, 32, 48)
    assert sum(isinstance(module, nn.Conv2d) for module in model.decoder.modules()) == convolutions


@torch.inference_mode()
def test_scoring_before_the_last_doubling_is_the_same_as_after() -> None:
    model = SETR(1, 4, **SMALL).double().eval()
    images = torch.randn(1, 1, 40, 64, dtype=torch.float64)
    upsampled = F.interpolate(
        model.decoder(model.encoder(images)), size=(40, 64), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(model(images), model.head(upsampled), atol=1e-12, rtol=0)


@torch.inference_mode()
def test_position_embeddings_stand_row_by_row_at_96x96(positions_alone: ViTEncoder) -> None:
    assert torch.equal(positions_alone(torch.randn(1, 1, 96, 96)), positions_alone.positions)
    assert positions_alone.positions.shape == (1, 12, 12, 12)


@torch.inference_mode()
def test_position_embeddings_are_interpolated_for_other_sizes(positions_alone: ViTEncoder) -> None:
    positions = positions_alone.positions
    # at a third and at three times the size, every third center of the finer grid is a center of
    # the coarser one
    torch.testing.assert_close(
        positions_alone(torch.randn(1, 1, 32, 32)), positions[..., 1::3, 1::3]
    )
    finer = positions_alone(torch.randn(1, 1, 288, 96))  # (1, 12, 36, 12)
    torch.testing.assert_close(finer[..., 1::3, :], positions)
    assert not torch.equal(finer[..., 2::3, :], positions)  # smooth, not the nearest


def test_position_embeddings_start_small() -> None:
    torch.manual_seed(0)
    positions = SETR(1, 2, **SMALL | {"hidden_size": 192}).get_parameter("encoder.positions")
    assert positions.std().item() == pytest.approx(0.02, rel=0.02)
    assert positions.mean().item() == pytest.approx(0, abs=5e-4)


@torch.inference_mode()
def test_every_token_sees_every_other() -> None:
    encoder = SETR(1, 2, **SMALL).encoder.eval()
    images = torch.zeros(1, 1, 96, 96)
    before = encoder(images)
    images[0, 0, 0, 0] = 100
    assert ((encoder(images) - before).abs().amax(1) > 0).all()


def test_every_parameter_learns_from_the_smallest_image_alone() -> None:
    torch.manual_seed(0)
    model = SETR(1, 4, **SMALL | {"patch_size": 16}).train()
    model(torch.randn(1, 1, 32, 32)).softmax(1)[:, :2].square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 1e-8, key


def test_dropout_stands_after_the_embedding_and_four_times_in_every_block() -> None:
    model = SETR(1, 2, **SMALL | {"dropout": 0.3})
    # attention weights, attention output, hidden layer, mlp output
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3] * (
        1 + 2 * 4
    )
