"""Fine-tuning: a whole network that starts from the weights of a run or of a model."""

from collections.abc import Callable

import torch

from acdc_seg.config import Config
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.inference.load import find_checkpoint
from acdc_seg.inference.shipped import find_model
from acdc_seg.models.base import SegmentationModel
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint
from acdc_seg.runs.trained_on import TrainedOn


def load_weights(
    network: SegmentationModel, config: Config, on_notice: Callable[[str], None]
) -> tuple[TrainedOn, ...]:
    """Gives a network all weights of `train.start_from`; nothing changes if they do not fit.

    The last layer stays random where the classes are others than those of the weights, which
    `on_notice` is told.

    Returns:
        What the weights were trained on.

    Raises:
        CheckpointError: No checkpoint there, or one of another network.
        ConfigError: Neither a path nor the name of a model.
    """
    path = find_checkpoint(find_model(config.train.start_from))
    checkpoint = load_checkpoint(path)
    theirs = checkpoint.config
    if theirs.model.name != config.model.name:
        raise CheckpointError(
            f"{path}: weights of {theirs.model.name}, the network is {config.model.name}; set "
            f"model.name={theirs.model.name}"
        )
    weights = dict(checkpoint.weights)
    if theirs.classes.names != config.classes.names:
        head = {f"head.{name}": value for name, value in network.head.state_dict().items()}
        weights |= head
        on_notice(
            f"train.start_from: the last layer starts at random, for {path} has other classes "
            f"({', '.join(theirs.classes.names)})."
        )
    _load(network, weights, checkpoint, config)
    return checkpoint.trained_on


def _load(
    network: SegmentationModel,
    weights: dict[str, torch.Tensor],
    checkpoint: Checkpoint,
    config: Config,
) -> None:
    """Copies the weights, or raises ConfigError that names the settings that differ."""
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        mine = {"data.channels": config.data.channels, **_options(config)}
        theirs = {"data.channels": checkpoint.config.data.channels, **_options(checkpoint.config)}
        differing = [f"{key}={theirs[key]}" for key in theirs if theirs[key] != mine.get(key)]
        if not differing:
            raise CheckpointError(
                f"train.start_from={config.train.start_from}: its weights do not fit its own config"
            ) from None
        raise ConfigError(
            f"train.start_from={config.train.start_from}: its weights are of another shape; set "
            f"{' '.join(differing)}"
        ) from None


def _options(config: Config) -> dict[str, object]:
    return {f"model.{name}": value for name, value in config.model.model_dump().items()}
