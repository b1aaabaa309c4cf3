"""Training loop, top to bottom: seed the batch, step, validate the epoch, keep the best weights."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from acdc_seg.config import Config
from acdc_seg.data.examples import Example
from acdc_seg.data.loader import batches, explain_lost_worker
from acdc_seg.data.source import Source, open_source
from acdc_seg.data.transforms import preprocess_batch
from acdc_seg.errors import DataError
from acdc_seg.evaluation import score_example
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.inference.stream import batch_examples, name_file, to_labels
from acdc_seg.runs.folder import Run
from acdc_seg.runtime.distributed import (
    any_rank,
    gather_batch,
    report_lost_peer,
    sum_over_ranks,
)
from acdc_seg.training.setup import Training, prepare_training


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a training; each may raise to end it.

    on_start: Called with the run folder and the resolved config before the first step.
    on_batch: Called with the epoch (from 1), batches done and in all, and the mean loss.
    on_epoch_end: Called with the epoch and its validation Dice, nan where it did not validate.
    should_stop: Asked after every step; true stops the training, to be resumed.
    on_notice: Called with a sentence for the user.
    """

    on_start: Callable[[Run, Config], None] = lambda run, config: None
    on_batch: Callable[[int, int, int, float], None] = lambda epoch, done, total, mean_loss: None
    on_epoch_end: Callable[[int, float], None] = lambda epoch, dice: None
    should_stop: Callable[[], bool] = lambda: False
    on_notice: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class TrainResult:
    """Run folder, resolved config, history, and the best validation foreground Dice with its epoch.

    Epochs count from 1. `dice` is nan and `epoch` the last one where nothing validates. `stopped`
    means ended on request, to be resumed.
    """

    run: Run
    config: Config
    history: list[dict[str, Any]]
    dice: float
    epoch: int
    stopped: bool

    @property
    def num_epochs(self) -> int:
        """Epochs that are finished."""
        return len(self.history)


@report_lost_peer()
@explain_lost_worker()
def train(
    config: Config,
    source: Source | None = None,
    *,
    run: Run | None = None,
    resume: bool = False,
    extend: bool = False,
    hooks: Hooks | None = None,
) -> TrainResult:
    """Trains one network into a run folder.

    Args:
        config: All settings; `auto` device and precision are resolved here.
        source: Records of train and, unless `data.validation` is false, of val; None opens
            `config.data`.
        run: Folder to write to; None makes a new one named `config.name`, or after the network.
        resume: Continue from last.pt of `run`.
        extend: With `resume`, `train.epochs` may be more than before; the rest of the schedule is
            that of the longer training.
        hooks: Callbacks for progress, tuning and interruption.

    Raises:
        AcdcError: Unusable data or settings, a checkpoint of another config or of other data, a
            file that cannot be written, or a loss or gradient that is not finite.
    """
    hooks = hooks or Hooks()
    if source is None:
        source = open_source(config.data, prepare_settings=config.prepare, classes=config.classes)
    training = prepare_training(
        config, source, run=run, resume=resume, extend=extend, on_notice=hooks.on_notice
    )
    state, writer = training.state, training.writer
    hooks.on_start(writer.run, training.config)
    with writer.recording(first_epoch=state.epoch), report_lost_peer():
        stopped = _train_epochs(training, hooks)
        if not training.validation:
            writer.save_best(state.eval_model, epoch=state.epoch, dice=None)
        writer.close(state.state_dict(), stopped=stopped)
    dice = math.nan if state.best_dice is None else state.best_dice
    result = TrainResult(
        writer.run, training.config, state.history, dice, state.best_epoch, stopped
    )
    accelerator = training.accelerator
    accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        del training  # its DistributedDataParallel must go before the group of processes does
        accelerator.free_memory()
    accelerator.end_training()
    return result


def _train_epochs(training: Training, hooks: Hooks) -> bool:
    """Trains the epochs that are left; returns whether it was stopped before their end."""
    config, accelerator, state = training.config, training.accelerator, training.state
    model, loader, writer = training.model, training.loader, training.writer
    for epoch in range(state.epoch, config.train.epochs):
        if state.is_out_of_patience(config.train.patience):
            return False

        # Train: one pass over the images, from where a resumed epoch was stopped.
        training.start_epoch()
        started = time.monotonic() - state.seconds
        for images, masks in batches(loader):
            seed_batch(config.seed, epoch, state.batch, accelerator.process_index)
            with accelerator.accumulate(model):
                logits = model(preprocess_batch(images, config.data))
                loss = training.criterion(
                    gather_batch(accelerator, logits), gather_batch(accelerator, masks.long())
                )
                accelerator.backward(loss * training.loss_scale(state.batch))
                grad_norm = None
                if accelerator.sync_gradients:
                    max_norm = config.train.max_grad_norm or math.inf
                    grad_norm = accelerator.clip_grad_norm_(model.parameters(), max_norm)
                state.add_loss(loss, grad_norm)
                state.optimizer.step()
                state.optimizer.zero_grad()
            state.batch += 1
            state.seconds = time.monotonic() - started
            hooks.on_batch(epoch + 1, state.batch, len(loader), state.mean_loss)
            if accelerator.sync_gradients:
                if not accelerator.optimizer_step_was_skipped:  # by fp16's scaler
                    state.step_schedule()
                if any_rank(accelerator, hooks.should_stop()):
                    return True
                writer.save_when_due(state.state_dict)

        # Validate the averaged weights, and keep them if they are the best.
        row = _finished_epoch(training)
        if state.finish_epoch(row, validates=bool(training.validation)):
            writer.save_best(state.eval_model, epoch=state.best_epoch, dice=state.best_dice)

        # Log, save, tell.
        writer.add(state.history)
        if writer.save_when_due(state.state_dict) and not training.validation:
            writer.save_best(state.eval_model, epoch=state.epoch, dice=None)
        hooks.on_epoch_end(state.epoch, row.get("dice", math.nan))
    return False


def seed_batch(seed: int, epoch: int, batch: int, rank: int) -> None:
    """Seeds dropout by (seed, epoch, batch, process), so that a resumed run draws what an
    uninterrupted one draws.
    """
    (state,) = np.random.SeedSequence((seed, epoch, batch, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(state) % 2**63)  # noqa: TID251


def _finished_epoch(training: Training) -> dict[str, Any]:
    """The epoch's row of history.csv, with validation scores where they are due."""
    state, config = training.state, training.config.train
    state.read_losses()
    epoch = state.epoch + 1
    is_last = epoch == config.epochs
    row = {
        "epoch": epoch,
        "lr": state.lr,
        "train_loss": state.mean_loss,
    }
    if training.validation and (is_last or epoch % config.val_interval == 0):
        draws = config.log_images_interval and (is_last or epoch % config.log_images_interval == 0)
        row |= validate(training, epoch=epoch, draw=bool(draws))
    return {**row, "seconds": round(state.seconds, 2)}


def validate(training: Training, *, epoch: int, draw: bool) -> dict[str, float]:
    """Loss and Dice of the validation images at their files' size, overall and by class; images
    that are wholly void have no Dice.

    Processes take batches in turn, so that each does its share and batches are those of one.

    Args:
        training: Its averaged weights are validated.
        epoch: Finished epochs, for the pictures.
        draw: Add a few predictions to TensorBoard.

    Raises:
        DataError: All images are wholly void.
    """
    config, accelerator, examples = training.config, training.accelerator, training.validation
    predictor = ModelPredictor(
        training.state.eval_model,
        config,
        device=accelerator.device,
        precision=config.train.precision,
    )
    columns = ["val_loss", *(f"dice_{name}" for name in config.classes.foreground)]
    table, start = np.zeros((len(examples), len(columns))), 0
    batches = batch_examples(examples, batch_size=config.train.batch_size)
    for number, batch in enumerate(batches):
        if number % accelerator.num_processes == accelerator.process_index:
            table[start : start + len(batch)] = _score_batch(training, predictor, batch)
        start += len(batch)
    table = sum_over_ranks(accelerator, table)
    if draw:
        training.writer.draw(
            epoch, examples, lambda image: predictor.logits(image[None])[0].argmax(0).cpu()
        )
    is_counted = ~np.isnan(table[:, 1:]).any(axis=1)
    if not is_counted.any():
        raise DataError("all pixels of all validation masks are void; check classes.void")
    means = [float(np.mean(table[:, 0].copy()))]
    means += [float(np.mean(column)) for column in table[is_counted, 1:].T.copy()]
    by_column = dict(zip(columns, means, strict=True))
    return {"val_loss": by_column.pop("val_loss"), "dice": float(np.mean(means[1:])), **by_column}


def _score_batch(
    training: Training, predictor: ModelPredictor, batch: Sequence[Example]
) -> list[list[float]]:
    """The loss of the batch and the Dice of its classes, for each of its images."""
    images = torch.stack([example.image for example in batch])
    # train.batch_size is that of all processes, of which one may not have the memory.
    share = math.ceil(training.config.train.batch_size / training.accelerator.num_processes)
    with name_file(batch):
        logits = torch.cat([predictor.logits(part) for part in images.split(share)])
    target = torch.stack([example.mask for example in batch]).long().to(logits.device)
    loss = training.criterion(logits, target).item()
    classes = training.config.classes
    scores = map(score_example, to_labels(logits), batch, [classes] * len(batch))
    nothing = [math.nan] * len(classes.foreground)  # an image that is wholly void has no Dice
    return [[loss, *(nothing if score.is_void else score.dice.values())] for score in scores]
