"""Training state: everything that changes during a training, and so everything in `last.pt`."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from acdc_seg.errors import CheckpointError, TrainingError
from acdc_seg.models.base import SegmentationModel

READ_EVERY = {"cpu": 1}
"""Batches after which losses are read, by type of device; `READ_EVERY_ELSEWHERE` for others, which
would have to be waited for in every step.
"""
READ_EVERY_ELSEWHERE = 50


@dataclass
class TrainState:
    """Network, optimizer and their companions, and how far the training is.

    `epoch` and `batch` count what is finished; `loss_sum` and `seconds` are of the epoch in
    progress, `lr` of the last step. Order, augmentation and dropout are functions of (seed, epoch,
    batch), so no state of a random generator belongs here.
    """

    model: SegmentationModel
    ema: AveragedModel | None
    optimizer: Any
    schedule: Any
    scaler: Any
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    lr: float = 0.0
    best_dice: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    _unread: list[tuple[int, dict[str, torch.Tensor]]] = field(default_factory=list)

    @property
    def eval_model(self) -> nn.Module:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.ema.module if self.ema is not None else self.model

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the epoch in progress, of the batches that were read."""
        return self.loss_sum / max(1, self.batch - len(self._unread))

    def add_loss(self, loss: torch.Tensor, grad_norm: torch.Tensor | None) -> None:
        """Keeps the loss of a batch on its device, and reads those that are due, see `read_losses`.

        Called before the weights move, so that on the CPU, where every batch is read, none that is
        not finite ever reaches them.

        Args:
            loss: Scalar.
            grad_norm: Norm of the gradient of the step that is due, if one is. Where gradients are
                scaled (fp16) it may overflow: the scaler leaves out that step and lowers the scale.

        Raises:
            TrainingError: One of them is not finite.
        """
        values = {"loss": loss.detach()}
        if grad_norm is not None and self.scaler is None:
            values["norm of the gradient"] = grad_norm.detach().to(loss.dtype)
        self._unread.append((self.batch + 1, values))
        if len(self._unread) >= READ_EVERY.get(loss.device.type, READ_EVERY_ELSEWHERE):
            self.read_losses()

    def read_losses(self) -> None:
        """Adds the losses that were kept to the epoch's sum, in one transfer, and checks them.

        `state_dict` calls it, so that last.pt never holds weights that were not checked.

        Raises:
            TrainingError: A loss, or the norm of a gradient, is not finite.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        tensors = [value for _, values in unread for value in values.values()]
        numbers = iter(torch.stack(tensors).tolist())
        for batch, values in unread:
            for name, number in zip(values, numbers, strict=False):
                if not math.isfinite(number):
                    raise TrainingError(
                        f"epoch {self.epoch + 1}, batch {batch}: the {name} is {number}; lower "
                        "optimizer.lr, or set train.precision=fp32"
                    )
                self.loss_sum += number if name == "loss" else 0.0

    def step_schedule(self) -> None:
        """Follows an optimizer step: learning rate and averaged weights."""
        self.lr = self.schedule.get_last_lr()[0]
        self.schedule.step()
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def finish_epoch(self, row: dict[str, Any], *, validates: bool) -> bool:
        """Adds the epoch's row to the history; returns whether its weights are the best so far.

        Where nothing validates, `best_epoch` is the last one, and its weights are kept at the end.
        """
        self.epoch, self.batch, self.loss_sum, self.seconds = row["epoch"], 0, 0.0, 0.0
        self.history.append(row)
        dice = row.get("dice")
        is_best = dice is not None and (self.best_dice is None or dice > self.best_dice)
        if is_best or not validates:
            self.best_dice, self.best_epoch = dice, row["epoch"]
        return is_best

    def is_out_of_patience(self, patience: int | None) -> bool:
        """Whether early stopping is due: so many epochs without a better validation Dice."""
        validated = bool(self.history) and "dice" in self.history[-1]
        return patience is not None and validated and self.epoch - self.best_epoch >= patience

    def state_dict(self) -> dict[str, Any]:
        """Everything as plain types and tensors; parts with a state of their own give that.

        Raises:
            TrainingError: See `read_losses`.
        """
        self.read_losses()
        return {
            name: part.state_dict() if hasattr(part, "state_dict") else part
            for name, part in self._parts()
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            CheckpointError: It was given by a version with other parts.
        """
        try:
            for name, part in self._parts():
                if hasattr(part, "load_state_dict"):
                    part.load_state_dict(saved[name])
                else:
                    setattr(self, name, saved[name])
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                "last.pt holds the training state of another version of acdc-seg; resume with that "
                "version, or start a new run"
            ) from error

    def _parts(self) -> list[tuple[str, Any]]:
        """Names and values of what a checkpoint holds."""
        return [(name, part) for name, part in vars(self).items() if not name.startswith("_")]
