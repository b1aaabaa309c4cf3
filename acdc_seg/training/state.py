"""Training state: everything that changes during a training, and so everything in `last.pt`."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from acdc_seg.errors import CheckpointError, TrainingError
from acdc_seg.models.base import SegmentationModel


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

    @property
    def eval_model(self) -> nn.Module:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.ema.module if self.ema is not None else self.model

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the epoch in progress."""
        return self.loss_sum / max(1, self.batch)

    def add_loss(self, loss: torch.Tensor, grad_norm: torch.Tensor | None) -> None:
        """Adds the loss of a batch to the epoch's sum.

        Args:
            loss: Scalar.
            grad_norm: Norm of the gradient of the step that is due, if one is.

        Raises:
            TrainingError: One of them is not finite. Called before the weights move, so that
                last.pt holds good ones. Where gradients are scaled (fp16), the scaler leaves out
                such a step instead and lowers the scale.
        """
        values = {"loss": loss.detach()}
        if grad_norm is not None and self.scaler is None:
            values["norm of the gradient"] = grad_norm.to(loss.dtype)
        # One transfer for both, for each makes the CPU wait for the GPU.
        numbers = torch.stack(list(values.values())).tolist()
        for name, number in zip(values, numbers, strict=True):
            if not math.isfinite(number):
                raise TrainingError(
                    f"epoch {self.epoch + 1}, batch {self.batch + 1}: the {name} is {number}; "
                    "lower optimizer.lr, or set train.precision=fp32"
                )
        self.loss_sum += numbers[0]

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
        """Everything as plain types and tensors; parts with a state of their own give that."""
        return {
            name: part.state_dict() if hasattr(part, "state_dict") else part
            for name, part in vars(self).items()
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            CheckpointError: It was given by a version with other parts.
        """
        try:
            for name, part in vars(self).items():
                if hasattr(part, "load_state_dict"):
                    part.load_state_dict(saved[name])
                else:
                    setattr(self, name, saved[name])
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                "last.pt holds the training state of another version of acdc-seg; resume with that "
                "version, or start a new run"
            ) from error
