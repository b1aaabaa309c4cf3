"""Each change of a training step or a prediction against what it replaced, turn by turn.

    python scripts/benchmark_changes.py [--turns 7] [NAME ...]

Batches of 8 gray 96x96 images in bf16 on one thread; medians of processor time, which other
programs on the machine disturb less than the clock. Names: layout, concatenation, optimizer,
averaging, depthwise.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from acdc_seg.config import OptimizerConfig, load_config
from acdc_seg.models import build_model
from acdc_seg.models.backbones.efficientnet import DepthwiseConv2d
from acdc_seg.models.enet import ConvPoolConcat
from acdc_seg.optim import AveragedWeights, build_optimizer

Pair = tuple[str, Callable[[], object], Callable[[], object]]
"""What is compared, before and after."""

IMAGES = torch.randn(8, 1, 96, 96)
MASKS = torch.randint(0, 4, (8, 96, 96))


def make_network(name: str, memory_format: torch.memory_format | None = None) -> nn.Module:
    """Network of the recipe, in its own layout or in another one."""
    network = build_model(load_config(model=name).model, 1, 4)
    if memory_format is not None:
        setattr(network, "memory_format", memory_format)  # noqa: B010  of this network alone
    return network.to(memory_format=network.memory_format)  # type: ignore[call-overload]


def train_step(network: nn.Module) -> None:
    """Forward, cross-entropy and backward."""
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(IMAGES)
    F.cross_entropy(logits.float(), MASKS).backward()
    network.zero_grad()


@torch.inference_mode()
def predict(network: nn.Module) -> None:
    """Forward in eval mode."""
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        network(IMAGES)


def on(network: nn.Module, run: Callable[..., object]) -> None:
    """Runs a training step or a prediction."""
    run(network)


def both(name: str, before: Callable[..., object], after: Callable[..., object]) -> Iterator[Pair]:
    """A training step and a prediction; `before` and `after` are given one of the two."""
    for what, run in (("step", train_step), ("prediction", predict)):
        yield f"{name}, {what}", partial(before, run), partial(after, run)


def layout() -> Iterator[Pair]:
    """NCHW in place of channels_last, for networks of instance norms."""
    for name in ("basic_unet", "dynunet"):
        old, new = make_network(name, torch.channels_last), make_network(name)
        yield from both(name, partial(on, old), partial(on, new))


def concatenation() -> Iterator[Pair]:
    """The pooled image in the type and layout of the convolved channels."""
    new_forward = ConvPoolConcat.forward

    def old_forward(self: ConvPoolConcat, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.conv(images), self.pool(images)], dim=1)

    def run_with(
        network: nn.Module, forward: Callable[..., torch.Tensor], run: Callable[..., object]
    ) -> None:
        ConvPoolConcat.forward = forward  # type: ignore[method-assign]
        run(network)

    for name in ("enet", "esnet"):
        change = partial(run_with, make_network(name))
        yield from both(name, partial(change, old_forward), partial(change, new_forward))


def optimizer() -> Iterator[Pair]:
    """One fused kernel in place of a loop over the parameters; its step alone."""
    for name in ("unet", "deeplab_drn", "effunet", "enet"):
        network = make_network(name)
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        loop, fused = (
            build_optimizer(network, OptimizerConfig(name="adamw"), fused=fused)
            for fused in (False, True)
        )
        yield f"{name}, AdamW", loop.step, fused.step


def averaging() -> Iterator[Pair]:
    """Averaged weights whose steps are counted in Python, against PyTorch's own."""
    for name in ("unet", "enet"):
        network = make_network(name)
        old = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
        new = AveragedWeights(network, 0.995)
        yield (
            f"{name}, average",
            partial(old.update_parameters, network),
            partial(new.update_parameters, network),
        )


def depthwise() -> Iterator[Pair]:
    """EfficientNet's depthwise convolutions at once where nothing has gradients."""
    network = make_network("effunet")

    def run_with(forward: Callable[..., torch.Tensor]) -> None:
        DepthwiseConv2d.forward = forward  # type: ignore[method-assign]
        predict(network)

    split, at_once = DepthwiseConv2d._convolve_by_threes, DepthwiseConv2d._convolve
    yield "effunet, prediction", partial(run_with, split), partial(run_with, at_once)


CHANGES = {change.__name__: change for change in (layout, concatenation, optimizer, averaging)}
CHANGES["depthwise"] = depthwise


def processor_time(run: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.process_time()
    run()
    return 1000 * (time.process_time() - started)


def main() -> None:
    """Prints a row for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(CHANGES), metavar="NAME")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.names:
        for what, before, after in CHANGES[name]():
            turns = [
                (processor_time(before), processor_time(after)) for _ in range(options.turns + 1)
            ]
            old, new = (statistics.median(times) for times in zip(*turns[1:], strict=True))
            print(f"{name:14}{what:24}{old:9.1f} ms{new:9.1f} ms{100 * (new / old - 1):+6.0f} %")


if __name__ == "__main__":
    main()
