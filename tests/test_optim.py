"""Rates of a schedule by hand, optimizers' options, averaged weights."""

from typing import get_args

import pytest
import torch
from torch import nn, optim

from acdc_seg.config import OptimizerConfig, ScheduleConfig
from acdc_seg.models import create_model
from acdc_seg.optim import (
    OPTIMIZERS,
    SCHEDULES,
    AveragedWeights,
    build_optimizer,
    build_schedule,
    lr_factor,
)

NETWORK = nn.Linear(2, 2)


def one_weight():
    """A network of one weight that decays, 1."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    return network


def factors(num_steps, **settings):
    config = ScheduleConfig(**settings)
    return [lr_factor(step, num_steps=num_steps, config=config) for step in range(num_steps)]


def test_registries_and_config_know_the_same_names():
    assert set(OPTIMIZERS) == set(get_args(OptimizerConfig.model_fields["name"].annotation))
    assert set(SCHEDULES) == set(get_args(ScheduleConfig.model_fields["name"].annotation))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "constant", "warmup_fraction": 0}, [1, 1, 1, 1]),
        ({"name": "constant", "warmup_fraction": 0.5}, [1 / 3, 2 / 3, 1, 1]),
        ({"name": "poly", "warmup_fraction": 0, "power": 2}, [1, 9 / 16, 4 / 16, 1 / 16]),
        ({"name": "poly", "warmup_fraction": 0.25, "power": 1}, [1 / 2, 1, 2 / 3, 1 / 3]),
        (
            {"name": "cosine", "warmup_fraction": 0},
            [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2],
        ),
        ({"name": "cosine", "warmup_fraction": 0.5}, [1 / 3, 2 / 3, 1, 0.5]),
        (
            {"name": "one_cycle", "warmup_fraction": 0.5},
            [0.04 + 0.96 * 0.25, 0.04 + 0.96 * 0.75, 1, 0.5],
        ),
        ({"name": "one_cycle", "warmup_fraction": 0.25}, [0.04 + 0.96 * 0.5, 1, 0.75, 0.25]),
        (
            {"name": "one_cycle", "warmup_fraction": 0},
            [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2],
        ),
    ],
)
def test_four_steps_by_hand(settings, expected):
    assert factors(4, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["constant", "one_cycle", "cosine", "poly"])
@pytest.mark.parametrize("warmup", [0, 0.3, 1])
def test_rates_rise_then_fall_and_stay_positive(name, warmup):
    rates = factors(50, name=name, warmup_fraction=warmup)
    peak = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak == (49 if warmup == 1 else 50 * warmup)


def test_a_single_step_has_a_rate():
    assert factors(1, name="one_cycle", warmup_fraction=0.1) == [1]


def test_schedule_sets_the_rate_of_every_step():
    optimizer = build_optimizer(NETWORK, OptimizerConfig(name="sgd", lr=0.5))
    schedule = build_schedule(
        optimizer, ScheduleConfig(name="poly", warmup_fraction=0, power=1), num_steps=4
    )
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.5, 0.375, 0.25, 0.125])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", optim.Adam, {}),
        ("adamw", optim.AdamW, {}),
        ("rmsprop", optim.RMSprop, {"momentum": 0.7}),
        ("sgd", optim.SGD, {"momentum": 0.7, "nesterov": True}),
    ],
)
def test_optimizers_take_their_options(name, kind, options):
    optimizer = build_optimizer(
        NETWORK, OptimizerConfig(name=name, lr=0.02, weight_decay=0.03, momentum=0.7)
    )
    assert type(optimizer) is kind
    assert {key: optimizer.defaults[key] for key in ("lr", "weight_decay", *options)} == {
        "lr": 0.02,
        "weight_decay": 0.03,
        **options,
    }


def test_sgd_without_momentum_is_plain():
    network = one_weight()
    optimizer = build_optimizer(
        network, OptimizerConfig(name="sgd", lr=0.1, momentum=0, weight_decay=0)
    )
    network.weight.grad = torch.tensor([[2.0]])
    optimizer.step()
    assert network.weight.item() == pytest.approx(0.8)


def test_weight_decay_is_decoupled_in_adamw_alone():
    """Without a gradient, AdamW shrinks by lr * decay; Adam sees the decay as a gradient and steps
    by the whole lr.
    """
    for name, expected in (("adamw", 1 - 0.1 * 0.5), ("adam", 1 - 0.1)):
        network = one_weight()
        optimizer = build_optimizer(network, OptimizerConfig(name=name, lr=0.1, weight_decay=0.5))
        network.weight.grad = torch.zeros(1, 1)
        optimizer.step()
        assert network.weight.item() == pytest.approx(expected)


def decaying(network):
    """Names of the parameters that a step without gradient makes smaller."""
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = build_optimizer(network, OptimizerConfig(lr=0.1, weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {
        name
        for name, value in network.named_parameters()
        if not torch.equal(value, before[name]) and before[name].any()
    }


def test_norms_biases_and_prelus_do_not_decay():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.PReLU(2), nn.Linear(2, 2))
    assert decaying(network) == {"0.weight", "3.weight"}


@pytest.mark.parametrize("name", ["setr", "swin_unet"])
def test_embeddings_of_positions_do_not_decay(name):
    options = {"num_layers": 1, "hidden_size": 48, "num_heads": 2} if name == "setr" else {}
    network = create_model(name, 1, 2, **options)
    decays = decaying(network)
    assert decays
    assert not [parameter for parameter in decays if "position" in parameter]


def test_the_encoder_has_a_learning_rate_of_its_own():
    """Its factor holds through the schedule, and the first rate is the decoder's."""
    network = nn.ModuleDict({"encoder": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    optimizer = build_optimizer(network, OptimizerConfig(name="sgd", lr=0.5, encoder_lr_factor=0.1))
    schedule = build_schedule(
        optimizer, ScheduleConfig(name="poly", warmup_fraction=0, power=1), num_steps=2
    )
    rates = {}
    for step in range(2):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                rates[step, id(parameter)] = group["lr"]
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.25
    for part, factor in (("encoder", 0.1), ("head", 1)):
        for parameter in network[part].parameters():
            assert rates[0, id(parameter)] == pytest.approx(0.5 * factor)
            assert rates[1, id(parameter)] == pytest.approx(0.25 * factor)


def test_averaged_weights_follow_the_rising_decay():
    network = nn.Linear(1, 1, bias=False)
    ema = AveragedWeights(network, decay=0.25)
    # the first update copies; then decays 2/11 and, at most, 0.25 instead of 3/12 and 4/13
    for value in (1.0, 12.0, 10.0, 6.0):
        nn.init.constant_(network.weight, value)
        ema.update_parameters(network)
    second = 1 + (1 - 2 / 11) * (12 - 1)
    third = second + (1 - 0.25) * (10 - second)
    assert ema.module.weight.item() == pytest.approx(third + (1 - 0.25) * (6 - third))
    restored = AveragedWeights(network, decay=0.25)
    restored.load_state_dict(ema.state_dict())
    assert restored.count == restored.n_averaged == 4
    for average in (ema, restored):
        average.update_parameters(network)
    assert restored.module.weight == ema.module.weight != third


def test_averaged_weights_include_the_statistics_of_batch_norm():
    network = nn.BatchNorm1d(1)
    ema = AveragedWeights(network, decay=0.9)
    for _ in range(3):
        network(torch.randn(8, 1) + 5)
        ema.update_parameters(network)
    assert ema.module.num_batches_tracked == 3
    assert 0 < ema.module.running_mean < network.running_mean


@pytest.mark.parametrize("name", get_args(OptimizerConfig.model_fields["name"].annotation))
def test_fused_steps_are_those_of_the_plain_optimizer(name):
    """Up to rounding; RMSprop has no fused kernel and stays as it is."""
    results = []
    for fused in (False, True):
        network = nn.Linear(5, 3)
        nn.init.constant_(network.weight, 0.3)
        nn.init.constant_(network.bias, -0.1)
        optimizer = build_optimizer(
            network, OptimizerConfig(name=name, lr=0.1, weight_decay=0.01), fused=fused
        )
        assert bool(optimizer.defaults.get("fused")) == (fused and name != "rmsprop")
        for step in range(3):
            inputs = torch.linspace(-1, 1, 10).reshape(2, 5) + step
            optimizer.zero_grad()
            network(inputs).square().sum().backward()
            optimizer.step()
        results.append([*network.parameters()])
    torch.testing.assert_close(results[1], results[0], atol=1e-6, rtol=1e-5)
