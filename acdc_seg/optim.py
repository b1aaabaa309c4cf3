"""Optimizers, learning-rate schedules and averaged weights."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel

from acdc_seg.config import OptimizerConfig, ScheduleConfig

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]

OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], dict[str, Any]]] = {
    "adam": (optim.Adam, {}),
    "adamw": (optim.AdamW, {}),
    "rmsprop": (optim.RMSprop, {"momentum": None}),
    "sgd": (optim.SGD, {"momentum": None, "nesterov": True}),
}
"""Class and fixed arguments of each name; None takes the configured value."""
UNFUSED = ("rmsprop",)
"""Optimizers that PyTorch has no fused kernel of."""


def build_optimizer(
    network: nn.Module, config: OptimizerConfig, *, fused: bool = False
) -> optim.Optimizer:
    """The configured optimizer; SGD without momentum is plain SGD, since Nesterov's needs one.

    Weights of convolutions and linear layers decay. Norms, biases, PReLUs (all below two
    dimensions) and embeddings of positions do not: they set a scale or a place, not complexity. The
    learning rate of what is in `network.encoder` is multiplied by `encoder_lr_factor`.

    Args:
        network: Its parameters are moved.
        config: Name and options.
        fused: Move all of them in one kernel where the optimizer has one: the same numbers up to
            rounding, in less time. Its step does not tell whether a gradient scaler (fp16) left it
            out.
    """
    optimizer, fixed = OPTIMIZERS[config.name]
    options = {name: config.momentum if value is None else value for name, value in fixed.items()}
    if config.momentum == 0:
        options.pop("nesterov", None)
    groups = [
        {
            "params": parameters,
            "lr": config.lr * (config.encoder_lr_factor if in_encoder else 1),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (in_encoder, decays), parameters in _group_parameters(network).items()
    ]
    if fused and config.name not in UNFUSED:
        options["fused"] = True
    return optimizer(groups, lr=config.lr, weight_decay=config.weight_decay, **options)


def _group_parameters(network: nn.Module) -> dict[tuple[bool, bool], list[nn.Parameter]]:
    """Parameters by whether they are in the encoder and whether they decay, others than the
    encoder's first.
    """
    groups = defaultdict(list)
    for name, parameter in network.named_parameters():
        decays = parameter.ndim >= 2 and "position" not in name
        groups[name.startswith("encoder."), decays].append(parameter)
    return dict(sorted(groups.items()))


def _half_cosine(progress: float, low: float = 0.0) -> float:
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda progress, power: 1.0,
    "one_cycle": lambda progress, power: _half_cosine(progress),
    "cosine": lambda progress, power: _half_cosine(progress),
    "poly": lambda progress, power: (1 - progress) ** power,
}
"""Shape of each name after the warm-up, for a progress from 0 to 1 and `schedule.power`."""


def lr_factor(step: int, *, num_steps: int, config: ScheduleConfig) -> float:
    """Learning rate at a step, as a part of `optimizer.lr`.

    A warm-up of `warmup_fraction * num_steps` steps comes first: linear, or half a cosine from 1/25
    in `one_cycle` (Smith 2018, without its cycle of the momentum). Then the named shape: constant
    at 1, half a cosine to 0 (`one_cycle`, `cosine`), or (1 - progress)**power (`poly`, Chen 2017).

    Args:
        step: 0 <= step < num_steps.
        num_steps: Optimizer steps of the whole training.
        config: Name and options.
    """
    num_warmup = round(config.warmup_fraction * num_steps)
    if step < num_warmup:
        rise = (step + 1) / (num_warmup + 1)
        return _half_cosine(1 - rise, low=0.04) if config.name == "one_cycle" else rise
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return SCHEDULES[config.name](progress, config.power)


def build_schedule(
    optimizer: optim.Optimizer, config: ScheduleConfig, *, num_steps: int
) -> optim.lr_scheduler.LambdaLR:
    """A schedule to be stepped after every optimizer step, `num_steps` times in all."""
    return optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: lr_factor(min(step, num_steps - 1), num_steps=num_steps, config=config),
    )


def make_ema(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a network's weights and buffers; update it after every step.

    The decay rises from 0.1 to `decay`, so that the first random weights are soon forgotten.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, num_averaged: torch.Tensor | int) -> None:
        if averaged[0].is_floating_point():
            count = float(num_averaged)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + count) / (10 + count)))
        else:  # BatchNorm's number of batches
            torch._foreach_copy_(averaged, current)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
