"""Optimizers and learning-rate schedules by name."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn, optim

from acdc_seg.config import OptimizerConfig, ScheduleConfig

OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], dict[str, Any]]] = {
    "adam": (optim.Adam, {}),
    "adamw": (optim.AdamW, {}),
    "rmsprop": (optim.RMSprop, {"momentum": None}),
    "sgd": (optim.SGD, {"momentum": None, "nesterov": True}),
}
"""Class and fixed arguments of each name; None stands for the configured value."""


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> optim.Optimizer:
    """The optimizer named in the config.

    SGD without momentum is plain SGD, since Nesterov's needs one.
    """
    cls, fixed = OPTIMIZERS[config.name]
    options = {name: config.momentum if value is None else value for name, value in fixed.items()}
    if config.momentum == 0:
        options.pop("nesterov", None)
    return cls(parameters, lr=config.lr, weight_decay=config.weight_decay, **options)


def lr_factor(step: int, *, num_steps: int, config: ScheduleConfig) -> float:
    """Learning rate at a step, as a part of `optimizer.lr`; 0 <= step < num_steps.

    `warmup * num_steps` steps of rise come first (linear; half a cosine from 1/25 in `one_cycle`,
    Smith 2018), then the named shape: constant at 1; one_cycle and cosine half a cosine to 0; poly
    (1 - t) ** power (Chen 2017).
    """
    num_warmup = round(config.warmup_fraction * num_steps)
    if step < num_warmup:
        rise = (step + 1) / (num_warmup + 1)
        return _half_cosine(1 - rise, low=0.04) if config.name == "one_cycle" else rise
    t = (step - num_warmup) / max(1, num_steps - num_warmup)
    shapes: dict[str, Callable[[], float]] = {
        "constant": lambda: 1.0,
        "one_cycle": lambda: _half_cosine(t),
        "cosine": lambda: _half_cosine(t),
        "poly": lambda: (1 - t) ** config.power,
    }
    return shapes[config.name]()


def _half_cosine(t: float, low: float = 0.0) -> float:
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * t))


def build_schedule(
    optimizer: optim.Optimizer, config: ScheduleConfig, *, num_steps: int
) -> optim.lr_scheduler.LambdaLR:
    """A schedule to be stepped after every optimizer step, `num_steps` times in all."""
    return optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: lr_factor(min(step, num_steps - 1), num_steps=num_steps, config=config),
    )
