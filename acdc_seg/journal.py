"""What a training writes while it runs: history, checkpoints and TensorBoard events, in the run folder."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from acdc_seg.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from acdc_seg.config import Config, dump_yaml
from acdc_seg.data.records import Record
from acdc_seg.data.sources import Source
from acdc_seg.errors import CheckpointError
from acdc_seg.report.figures import overlay
from acdc_seg.run import Run, environment


class Journal:
    """Writes one run folder; an inactive journal (of a process that is not the first) writes nothing."""

    def __init__(self, run: Run, config: Config, source: Source, *, active: bool) -> None:
        self.run, self.config, self.source, self.active = run, config, source, active
        self.saved_at = time.monotonic()
        self.events: SummaryWriter | None = None

    def start(self, *, first_epoch: int) -> None:
        """Writes config.yaml and run.json and opens the event file."""
        if not self.active:
            return
        self.started = time.monotonic()
        self.seconds_before = self.run.read_json().get("seconds", 0.0)
        splits = {name: self.source.split(name) for name in ("train", "val")}
        self.run.write_config(self.config)
        self.run.update_json(
            status="running",
            started=self.run.read_json().get("started", datetime.now(UTC).isoformat(timespec="seconds")),
            data=self.source.kind,
            data_path=self.config.data.path,
            data_sha256=self.source.digest(),
            num_images={name: len(records) for name, records in splits.items()},
            num_patients={name: len({record.patient for record in records}) for name, records in splits.items()},
            val_patients=sorted({record.patient for record in splits["val"]}),
            seed=self.config.seed,
            precision=self.config.train.precision,
            **environment(),
        )
        self.events = SummaryWriter(str(self.run.folder), purge_step=first_epoch + 1)
        self.events.add_text("config", f"```yaml\n{dump_yaml(self.config)}\n```", 0)

    def add(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Rewrites history.csv and adds the last epoch's numbers to TensorBoard."""
        if not self.active or self.events is None:
            return
        self.run.write_history(history)
        row = history[-1]
        for name, value in row.items():
            if name != "epoch":
                self.events.add_scalar(_tag(name), value, row["epoch"])
        self.events.flush()

    def draw(self, epoch: int, examples: Sequence[tuple[Record, torch.Tensor, torch.Tensor]], labels: Sequence[torch.Tensor]) -> None:
        """Adds a few validation images to TensorBoard, prediction left and truth right."""
        if not self.active or self.events is None:
            return
        step = max(1, len(examples) // self.config.train.num_images)
        for (record, image, mask), predicted in list(zip(examples, labels, strict=True))[::step][: self.config.train.num_images]:
            colors = self.config.classes.colors
            pair = [torch.from_numpy(overlay(image.numpy(), part.numpy(), colors=colors)) for part in (predicted, mask)]
            self.events.add_image(f"validation/{record.id}", torch.cat(pair, dim=1), epoch, dataformats="HWC")

    def save_best(self, network: nn.Module, *, epoch: int, dice: float | None) -> None:
        """Writes best.pt: the weights to predict with."""
        if self.active:
            save_checkpoint(self.run.best, self._checkpoint(network.state_dict(), epoch, dice))

    def save_when_due(self, epoch: int, make_state: Callable[[], dict[str, Any]]) -> None:
        """Writes last.pt if `train.save_seconds` have passed since the last time."""
        if self.active and time.monotonic() - self.saved_at >= self.config.train.save_seconds:
            self._save_last(make_state())

    def read_last(self) -> dict[str, Any]:
        """The training state of last.pt.

        Raises:
            CheckpointError: No such file, it belongs to another config, or holds no such state.
        """
        if not self.run.last.is_file():
            raise CheckpointError(f"{self.run.folder}: no last.pt to resume from; start the run anew without --resume")
        checkpoint = load_checkpoint(self.run.last)
        if checkpoint.config != self.config:
            raise CheckpointError(f"{self.run.last}: the checkpoint was written with other settings; resume with the run's own config.yaml")
        if checkpoint.training is None:
            raise CheckpointError(f"{self.run.last}: holds weights alone, no state of training; start the run anew without --resume")
        return dict(checkpoint.training)

    def close(self, state: dict[str, Any], *, stopped: bool) -> None:
        """Writes last.pt and how the training ended."""
        if not self.active or self.events is None:
            return
        self._save_last(state)
        self.run.update_json(
            status="stopped" if stopped else "finished",
            seconds=round(self.seconds_before + time.monotonic() - self.started, 1),
            epochs=state["epoch"],
            best_dice=state["best_dice"],
            best_epoch=state["best_epoch"],
        )
        self.events.close()

    def _save_last(self, state: dict[str, Any]) -> None:
        weights = state["model"]
        save_checkpoint(self.run.last, self._checkpoint(weights, state["epoch"], state["best_dice"], training=state))
        self.saved_at = time.monotonic()

    def _checkpoint(
        self, weights: Mapping[str, torch.Tensor], epoch: int, dice: float | None, training: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        return Checkpoint(config=self.config, weights=weights, epoch=epoch, dice=dice, data=self.source.kind, training=training)


def _tag(name: str) -> str:
    """TensorBoard's name of a column of history.csv: losses, Dice scores and the rest in groups of their own."""
    group = "loss" if name.endswith("loss") else "dice" if name.startswith("dice") else "run"
    return f"{group}/{name}"
