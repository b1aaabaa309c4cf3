import pytest
import torch
from torch import nn

from acdc_seg.models.base import SegmentationModel


def small_model() -> SegmentationModel:
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
    )
    decoder = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    return SegmentationModel(encoder, decoder, nn.Conv2d(4, 2, 1), in_channels=1).train()


def changed_by_a_step(model: SegmentationModel, optimizer: torch.optim.Optimizer) -> set[str]:
    """Names of weights and buffers that differ after one optimiser step."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer.zero_grad()
    model.train()(torch.randn(2, 1, 32, 32)).square().mean().backward()
    optimizer.step()
    return {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }


def test_a_frozen_encoder_stands_still_and_learns_again_when_thawed() -> None:
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    encoder = {name for name in model.state_dict() if name.startswith("encoder.")}
    model.freeze_encoder(True)
    assert changed_by_a_step(model, optimizer) == set(model.state_dict()) - encoder
    model.freeze_encoder(False)
    assert changed_by_a_step(model, optimizer) == set(model.state_dict())


def test_freezing_drops_gradients_that_are_there() -> None:
    model = small_model()
    model(torch.randn(2, 1, 32, 32)).sum().backward()
    model.freeze_encoder(True)
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())


def test_requires_grad_is_left_alone() -> None:
    model = small_model()
    bias = next(iter(model.encoder.parameters())).requires_grad_(False)
    for frozen in (True, False):
        model.freeze_encoder(frozen)
        assert [parameter for parameter in model.parameters() if not parameter.requires_grad] == [
            bias
        ]


@pytest.mark.parametrize("training", [True, False])
def test_only_a_thawed_encoder_follows_train(training: bool) -> None:
    model = small_model().train(training)
    model.freeze_encoder(True)
    for mode in (True, False):
        assert model.train(mode) is model
        assert not any(module.training for module in model.encoder.modules())
        assert {
            module.training for part in (model.decoder, model.head) for module in part.modules()
        } == {mode}
    model.train(training).freeze_encoder(False)
    assert {module.training for module in model.modules()} == {training}


def test_a_frozen_encoder_keeps_nothing_for_the_backward_pass() -> None:
    model = small_model()
    features: list[torch.Tensor] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: features.extend(inputs))
    for frozen in (True, False):
        model.freeze_encoder(frozen)
        assert model(torch.randn(2, 1, 32, 32)).requires_grad
    assert [feature.requires_grad for feature in features] == [False, True]


def test_a_thawed_model_does_not_turn_gradients_on_again() -> None:
    model = small_model()
    with torch.no_grad():
        assert not model(torch.randn(2, 1, 32, 32)).requires_grad
