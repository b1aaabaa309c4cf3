"""Runs that were never trained: a tiny network's random weights, saved as a training saves them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from acdc_seg.config import Config, with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import Checkpoint, save_checkpoint
from acdc_seg.runs.trained_on import TrainedOn, training_images

SaveRun = Callable[..., Path]


@pytest.fixture
def shared_folder(tmp_path, hearts, write_png) -> Path:
    """Eight hearts of four patients without splits."""
    for number, (image, mask) in enumerate(hearts):
        stem = f"patient00{number // 2}_{number % 2}"
        write_png(tmp_path / "shared" / "image" / f"{stem}.png", image)
        write_png(tmp_path / "shared" / "mask" / f"{stem}_mask.png", mask)
    return tmp_path / "shared"


@pytest.fixture
def save_run(tmp_path: Path, tiny_config: Config, shared_folder: Path) -> SaveRun:
    """save_run(name, seed=0, **{"section.key": value}): half of the patients validate unless told
    otherwise.
    """

    def save(
        name: str, *, seed: int = 0, pretrained_on: Sequence[TrainedOn] = (), **changes: object
    ) -> Path:
        config = with_overrides(
            tiny_config, {"data.path": str(shared_folder), "data.val_fraction": 0.5, **changes}
        )
        torch.manual_seed(seed)
        weights = build_model(
            config.model, config.data.channels, len(config.classes.names)
        ).state_dict()
        source = open_source(config.data, prepare_settings=config.prepare)
        checkpoint = Checkpoint(
            config=config,
            weights=weights,
            epoch=1,
            dice=0.5,
            data="paired",
            trained_on=(training_images(source, config.data), *pretrained_on),
        )
        save_checkpoint(tmp_path / "runs" / name / "best.pt", checkpoint)
        return tmp_path / "runs" / name

    return save
