"""Disk space and time that a training will need, before it begins."""

from accelerate import init_empty_weights

from acdc_seg.config import Config
from acdc_seg.data.source import Source
from acdc_seg.models import build_model
from acdc_seg.models.summary import measure_speed
from acdc_seg.runtime.device import DTYPES, resolve_device, resolve_precision
from acdc_seg.training.finish import probability_bytes

NUM_MOMENTS = {"adam": 2, "adamw": 2, "rmsprop": 2, "sgd": 1}
"""Tensors that an optimizer keeps for each weight, RMSprop and SGD one less without momentum."""


def disk_bytes(config: Config, source: Source) -> tuple[int, int]:
    """About the bytes of a run folder while the network trains, and when it is finished.

    best.pt holds the weights; last.pt holds them, their average and the optimizer's moments. While
    it trains, the checkpoint before each is there too.
    """
    with init_empty_weights():
        network = build_model(config.model, config.data.channels, len(config.classes.names))
    best = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    has_momentum = config.optimizer.name.startswith("adam") or config.optimizer.momentum > 0
    num_moments = NUM_MOMENTS[config.optimizer.name] - (not has_momentum)
    last = best * (1 + (config.train.ema_decay is not None) + num_moments)
    training = 2 * best + 2 * last
    kept = training if config.train.keep_last else best
    return training, kept + probability_bytes(config, source.split("val"))


def epochs_within(config: Config, source: Source, *, seconds: float) -> int:
    """Epochs that fit into this time, from 1 to `train.epochs`, by timing a few steps.

    Args:
        config: Settings of the training; images are of its `data.size` or `prepare.size`.
        source: Images to train on and to validate.
        seconds: Time for all epochs.
    """
    device = resolve_device(config.train.device)
    speed = measure_speed(
        build_model(config.model, config.data.channels, len(config.classes.names)),
        size=max(config.data.size or config.prepare.size),
        batch_size=config.train.batch_size,
        device=device,
        dtype=DTYPES[resolve_precision(config.train.precision, device)],
    )
    num_images = len(source.split("train")) * config.augment.repeats
    epoch = num_images / speed.train + len(source.split("val")) / speed.predict
    return max(1, min(config.train.epochs, int(seconds / epoch)))
