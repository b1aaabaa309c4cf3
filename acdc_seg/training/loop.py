"""The training loop, top to bottom: seed, train an epoch, validate, save, report."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    set_seed,
)
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from acdc_seg.config import Config, EncoderConfig, with_overrides
from acdc_seg.data.examples import Example, load_examples, megabytes
from acdc_seg.data.images import IGNORE_INDEX
from acdc_seg.data.loader import (
    EpochSampler,
    TrainingSet,
    batches,
    explain_lost_worker,
    make_loader,
)
from acdc_seg.data.source import Source
from acdc_seg.data.transforms import normalize
from acdc_seg.errors import ConfigError, DataError, TrainingError
from acdc_seg.evaluation import score_example
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.inference.stream import predict_batches, to_labels
from acdc_seg.losses import build_loss
from acdc_seg.metrics.scores import ImageScore, summarize
from acdc_seg.models import build_model
from acdc_seg.models.base import MIN_SIZE, SegmentationModel
from acdc_seg.models.pretrained import load_pretrained
from acdc_seg.optim import build_optimizer, build_schedule
from acdc_seg.runs.folder import Run
from acdc_seg.runs.writer import RunWriter
from acdc_seg.runtime.device import resolve_device, resolve_precision
from acdc_seg.runtime.distributed import (
    any_rank,
    check_batch_divides,
    gather_batch,
    on_main_process,
    report_lost_peer,
    sync_layers,
)
from acdc_seg.training.finish import conclude

WAIT = timedelta(minutes=30)
"""How long processes wait for each other: the first validates and writes alone.

One that dies is noticed at once.
"""


@dataclass(frozen=True)
class Hooks:
    """What a caller listens to. `on_epoch_end(epoch, dice)` may raise to end the training."""

    on_batch: Callable[[int, int, int, float], None] = lambda epoch, done, total, mean_loss: None
    on_epoch_end: Callable[[int, float], None] = lambda epoch, dice: None
    should_stop: Callable[[], bool] = lambda: False
    on_notice: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Result:
    """Best validation foreground Dice and its epoch (from 1), or nan and the last epoch where
    nothing validates.

    `stopped` means ended on request, to be resumed.
    """

    dice: float
    epoch: int
    num_epochs: int
    stopped: bool


@dataclass
class State:
    """All that changes during training, and so all that `last.pt` holds."""

    model: SegmentationModel
    ema: AveragedModel | None
    optimizer: Any
    schedule: Any
    scaler: Any
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_dice: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.ema.module if self.ema is not None else self.model

    def finish_epoch(self, row: dict[str, Any], *, validates: bool) -> bool:
        """Takes the epoch's row into the history and goes to the next epoch; whether to keep its
        weights.

        They are kept where they are the best so far, and always where nothing validates.
        """
        self.epoch, self.batch, self.loss_sum, self.seconds = row["epoch"], 0, 0.0, 0.0
        self.history.append(row)
        dice = row.get("dice")
        if validates and (dice is None or (self.best_dice is not None and dice <= self.best_dice)):
            return False
        self.best_dice, self.best_epoch = dice, row["epoch"]
        return True

    def state_dict(self) -> dict[str, Any]:
        return {
            name: part.state_dict() if hasattr(part, "state_dict") else part
            for name, part in vars(self).items()
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        for name, part in vars(self).items():
            if hasattr(part, "load_state_dict"):
                part.load_state_dict(saved[name])
            else:
                setattr(self, name, saved[name])


@report_lost_peer()
@explain_lost_worker()
def train(
    config: Config,
    source: Source,
    make_run: Callable[[Config], Run],
    *,
    hooks: Hooks | None = None,
    resume: bool = False,
    extends: bool = False,
    report: bool = True,
) -> Result:
    """Trains one model and leaves its run folder.

    Args:
        config: All settings; `auto` device and precision are resolved here.
        source: Records with a train split and, unless `data.validation` is false, a val split.
        make_run: Gives the run folder; called when all input has proved usable, so that a mistake
            leaves nothing behind.
        hooks: Listeners for progress, tuning and interruption.
        resume: Go on from last.pt of the run folder.
        extends: Go on for more `train.epochs` than last.pt was written with; the rest of the
            schedule is that of the longer training.
        report: Score the best weights at the end and write report.html.

    Raises:
        AcdcError: Unusable data or settings, a checkpoint of another config or of other data, a
            file that cannot be written, or a loss that is no longer a number.
    """
    hooks = hooks or Hooks()
    config, accelerator = _set_up(config)
    loader, validation = _load_data(config, source, hooks)
    sampler = loader.sampler
    assert isinstance(sampler, EpochSampler)
    check_batch_divides(config.train.batch_size, len(sampler), accelerator.num_processes)
    state, model, loader = _build(config, loader, accelerator, pretrained=not resume)
    criterion = build_loss(
        config.loss, num_classes=len(config.classes.names), ignore_index=_ignore_index(config)
    ).to(accelerator.device)
    journal = RunWriter(
        on_main_process(accelerator, make_run, config),
        config,
        source,
        active=accelerator.is_main_process,
    )
    if resume:
        state.load_state_dict(
            on_main_process(accelerator, partial(journal.read_last, extends=extends))
        )

    stopped = False
    with journal.recording(first_epoch=state.epoch), report_lost_peer():
        while not (
            stopped or state.epoch >= config.train.epochs or _out_of_patience(state, config)
        ):
            sampler.start_at(state.epoch, skip=state.batch * loader.total_batch_size)
            started = time.monotonic() - state.seconds
            state.model.freeze_encoder(
                isinstance(config.model, EncoderConfig) and config.model.is_frozen(state.epoch)
            )
            model.train()
            for images, masks in batches(loader):
                _seed_batch(config.seed, state.epoch, state.batch)
                with accelerator.accumulate(model):
                    inputs = normalize(images, config.data).contiguous(
                        memory_format=torch.channels_last
                    )
                    loss = criterion(
                        gather_batch(accelerator, model(inputs)),
                        gather_batch(accelerator, masks.long()),
                    )
                    state.loss_sum += _checked(loss.item(), state)
                    accelerator.backward(
                        loss * accelerator.num_processes
                    )  # of which the gradients are averaged
                    if accelerator.sync_gradients and config.train.max_grad_norm is not None:
                        accelerator.clip_grad_norm_(model.parameters(), config.train.max_grad_norm)
                    state.optimizer.step()
                    state.optimizer.zero_grad()
                state.batch += 1
                state.seconds = time.monotonic() - started
                hooks.on_batch(
                    state.epoch + 1, state.batch, len(loader), state.loss_sum / state.batch
                )
                if accelerator.sync_gradients:
                    state.schedule.step()
                    if state.ema is not None:
                        state.ema.update_parameters(state.model)
                    if stopped := any_rank(accelerator, hooks.should_stop()):
                        break
                    journal.save_when_due(state.epoch, state.state_dict)
            else:
                row = on_main_process(
                    accelerator,
                    _epoch_row,
                    state,
                    validation,
                    criterion,
                    config,
                    journal,
                    accelerator.device,
                )
                if state.finish_epoch(row, validates=bool(validation)):
                    journal.save_best(state.kept, epoch=state.best_epoch, dice=state.best_dice)
                journal.add(state.history)
                journal.save_when_due(state.epoch, state.state_dict)
                hooks.on_epoch_end(state.epoch, row.get("dice", math.nan))
        journal.close(state.state_dict(), stopped=stopped)
        if report and accelerator.is_main_process and not stopped:
            conclude(journal.run, config, source, state.history)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return Result(
        math.nan if state.best_dice is None else state.best_dice,
        state.best_epoch,
        state.epoch,
        stopped,
    )


def _set_up(config: Config) -> tuple[Config, Accelerator]:
    """The config with `auto` resolved, the accelerator, and a seeded generator for the initial
    weights.
    """
    device = resolve_device(config.train.device)
    precision = resolve_precision(config.train.precision, device)
    config = with_overrides(config, {"train.precision": precision})
    if config.train.num_threads is not None:
        torch.set_num_threads(config.train.num_threads)
    set_seed(config.seed)
    AcceleratorState._reset_state(
        reset_partial_state=True
    )  # it would keep device and precision of an earlier run in this process
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(precision, precision),
        cpu=device.type == "cpu",
        gradient_accumulation_steps=config.train.grad_accum_steps,
        step_scheduler_with_optimizer=False,
        rng_types=[],
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=_has_frozen_epochs(config)),
            InitProcessGroupKwargs(timeout=WAIT),
        ],
    )
    return config, accelerator


def _load_data(
    config: Config, source: Source, hooks: Hooks
) -> tuple[DataLoader[Any], Sequence[Example]]:
    """The loader of training batches and the examples to validate on (none with
    `data.validation=false`), all files read and checked.
    """
    if not config.data.validation and config.train.patience is not None:
        raise ConfigError(
            f"train.patience={config.train.patience} needs validation, which data.validation=false "
            "leaves out; set train.patience=null"
        )
    loaded = load_examples(
        source.split("train"), source.split("val"), data=config.data, classes=config.classes
    )
    *_, mask = loaded.training[0]
    if min(mask.shape) < MIN_SIZE:
        raise DataError(
            f"{source.root}: images of {mask.shape[0]}x{mask.shape[1]} are too small, {MIN_SIZE} "
            "is the least; set data.size"
        )
    if config.data.cache == "auto" and loaded.storage != "memory":
        hooks.on_notice(
            f"The images would take {megabytes(loaded.num_bytes)} of memory: they are kept on "
            f"{loaded.storage} instead."
        )
    dataset = TrainingSet(loaded.training, augment=config.augment, seed=config.seed)
    loader = make_loader(
        dataset, batch_size=config.train.batch_size, num_workers=config.data.num_workers
    )
    if not loaded.validation and config.data.validation:
        raise DataError(
            f"{source.root}: no images to validate on; two patients are needed at least, or a val "
            "folder, or data.validation=false to do without"
        )
    return loader, loaded.validation


def _build(
    config: Config, loader: Any, accelerator: Accelerator, *, pretrained: bool
) -> tuple[State, nn.Module, Any]:
    """The network and all that moves it, on the device."""
    network = build_model(config.model, config.data.channels, len(config.classes.names))
    if (
        pretrained
        and isinstance(config.model, EncoderConfig)
        and config.model.pretrained is not None
    ):
        load_pretrained(network.encoder, config.model.pretrained)
    sync_layers(network, accelerator)
    network = network.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore
    ema = None
    if config.train.ema_decay is not None:
        ema = AveragedModel(
            network, multi_avg_fn=_ema_average(config.train.ema_decay), use_buffers=True
        )
    optimizer = build_optimizer(network.parameters(), config.optimizer)
    model, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    num_steps = config.train.epochs * math.ceil(len(loader) / config.train.grad_accum_steps)
    schedule = build_schedule(optimizer.optimizer, config.schedule, num_steps=num_steps)
    return State(network, ema, optimizer, schedule, accelerator.scaler), model, loader


def _has_frozen_epochs(config: Config) -> bool:
    return isinstance(config.model, EncoderConfig) and config.model.is_frozen(0)


def _ema_average(decay: float) -> Callable[..., None]:
    """Exponential moving average whose decay rises from 0.1 to `decay`, so that the first random
    weights are soon forgotten.
    """

    @torch.no_grad()
    def update(
        averaged: list[torch.Tensor], current: list[torch.Tensor], num_averaged: torch.Tensor
    ) -> None:
        if averaged[0].is_floating_point():
            count = float(num_averaged)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + count) / (10 + count)))
        else:
            torch._foreach_copy_(averaged, current)

    return update


def _seed_batch(seed: int, epoch: int, batch: int) -> None:
    """Makes dropout a function of where training stands, so that a resumed run draws what the
    straight one draws.
    """
    torch.manual_seed(hash((seed, epoch, batch, 0)) % 2**63)  # noqa: TID251


def _checked(loss: float, state: State) -> float:
    """The loss, if it is a number.

    Checked before the weights move, so that last.pt holds good ones.
    """
    if not math.isfinite(loss):
        place = f"epoch {state.epoch + 1}, batch {state.batch + 1}"
        raise TrainingError(
            f"{place}: the loss is {loss}; lower optimizer.lr, or set train.precision=fp32"
        )
    return loss


def _epoch_row(
    state: State,
    validation: Sequence[Example],
    criterion: nn.Module,
    config: Config,
    journal: RunWriter,
    device: torch.device,
) -> dict[str, Any]:
    """The row of history.csv for the epoch that ends, with validation scores where they are due and
    there are images for it.
    """
    epoch = state.epoch + 1
    row: dict[str, Any] = {
        "epoch": epoch,
        "lr": state.schedule.get_last_lr()[0],
        "train_loss": state.loss_sum / state.batch,
    }
    is_last = epoch == config.train.epochs
    if validation and (is_last or epoch % config.train.val_interval == 0):
        val_loss, scores, labels = validate(state.kept, validation, criterion, config, device)
        summary = summarize(scores)
        by_class = {f"dice_{name}": each["dice_mean"] for name, each in summary.classes.items()}
        row |= {"val_loss": val_loss, "dice": summary.dice, **by_class}
        if config.train.log_images_interval and (
            is_last or epoch % config.train.log_images_interval == 0
        ):
            journal.draw(epoch, validation, labels)
    return {**row, "seconds": round(state.seconds, 2)}


def validate(
    network: nn.Module,
    examples: Sequence[Example],
    criterion: nn.Module,
    config: Config,
    device: torch.device,
) -> tuple[float, list[ImageScore], list[torch.Tensor]]:
    """Mean loss, the row of every image, and the predicted class indices `(H, W)`, all at the
    files' size.
    """
    predictor = ModelPredictor(network, config, device=device, precision=config.train.precision)
    loss_sum, rows, predicted = 0.0, [], []
    for batch, logits in predict_batches(
        predictor.logits, examples, batch_size=config.train.batch_size
    ):
        targets = torch.stack([example.mask for example in batch]).long().to(device)
        loss_sum += criterion(logits, targets).item() * len(batch)
        for example, labels in zip(batch, to_labels(logits), strict=True):
            rows.append(score_example(labels, example, config.classes))
            predicted.append(torch.from_numpy(labels))
    return loss_sum / len(examples), rows, predicted


def _out_of_patience(state: State, config: Config) -> bool:
    validated = bool(state.history) and "dice" in state.history[-1]
    return (
        config.train.patience is not None
        and validated
        and state.epoch - state.best_epoch >= config.train.patience
    )


def _ignore_index(config: Config) -> int | None:
    return IGNORE_INDEX if config.classes.ignore_value is not None else None
