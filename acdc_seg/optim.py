"""Optimizers, learning-rate schedules and averaged weights."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel

from acdc_seg.config import OptimizerConfig, ScheduleConfig

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


Pairs = tuple[list[torch.Tensor], list[torch.Tensor]]


class AveragedWeights(AveragedModel):
    """Exponential moving average of a network's weights and buffers; update it after every step.

    The decay rises from 0.1 to `decay`, so that the first random weights are soon forgotten. Steps
    are counted here, not in the buffer of the parent, which a GPU would be waited for to read.

    Args:
        network: It is copied.
        decay: Per step, in 0..1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self.decay, self.count = decay, 0

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Moves the averages towards the weights of `model`; the first time they become equal."""
        averaged = chain(self.module.parameters(), self.module.buffers())
        current = chain(model.parameters(), model.buffers())
        floats: Pairs = ([], [])
        counters: Pairs = ([], [])  # BatchNorm's numbers of batches
        for old, new in zip(averaged, current, strict=True):
            pairs = floats if old.is_floating_point() else counters
            pairs[0].append(old)
            pairs[1].append(new)
        if not self.count:
            torch._foreach_copy_(*floats)
        else:
            weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
            torch._foreach_lerp_(*floats, weight)
        if counters[0]:
            torch._foreach_copy_(*counters)
        self.count += 1

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """Weights, and the number of steps as `n_averaged`."""
        self.n_averaged.fill_(self.count)
        return super().state_dict(*args, **options)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Restores what `state_dict` gave."""
        result = super().load_state_dict(state_dict, *args, **options)
        self.count = int(self.n_averaged)
        return result
