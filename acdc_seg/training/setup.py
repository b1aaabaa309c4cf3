"""Everything that a training needs before its first step: data, network, optimizer, run folder."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader

from acdc_seg.config import ClassesConfig, Config, EncoderConfig, with_overrides
from acdc_seg.data.check.quick import all_problems, take_fingerprint
from acdc_seg.data.examples import Example, load_examples
from acdc_seg.data.loader import EpochSampler, TrainingSet, make_loader
from acdc_seg.data.sizes import with_size
from acdc_seg.data.source import Source
from acdc_seg.data.transforms import VOID_PRESETS
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.losses import build_loss
from acdc_seg.models import build_model
from acdc_seg.models.base import MIN_SIZE, SegmentationModel, to_memory_format
from acdc_seg.models.pretrained import load_pretrained
from acdc_seg.optim import AveragedWeights, build_optimizer, build_schedule
from acdc_seg.runs.folder import Run, create_run
from acdc_seg.runs.trackers import check_trackers
from acdc_seg.runs.trained_on import TrainedOn, data_name, find_seen
from acdc_seg.runs.writer import RunWriter
from acdc_seg.runtime.device import (
    check_compiler,
    loader_workers,
    prepare_backend,
    resolve_device,
    resolve_precision,
)
from acdc_seg.runtime.distributed import (
    check_batch_divides,
    make_accelerator,
    on_main_process,
    sync_layers,
)
from acdc_seg.runtime.memory import megabytes
from acdc_seg.training.fine_tune import load_weights
from acdc_seg.training.state import TrainState


@dataclass(frozen=True)
class Training:
    """Parts of a training; `model` is the network of `state`, wrapped for its device."""

    config: Config
    accelerator: Accelerator
    state: TrainState
    model: nn.Module
    criterion: nn.Module
    loader: Any
    sampler: EpochSampler
    validation: Sequence[Example]
    writer: RunWriter

    def start_epoch(self) -> None:
        """Order of the images, train mode, and a frozen or thawed encoder, all by the epoch."""
        done = self.state.batch * self.loader.total_batch_size
        self.sampler.start_at(self.state.epoch, skip=done)
        self.state.model.freeze_encoder(_is_frozen(self.config, self.state.epoch))
        self.model.train()

    def loss_scale(self, batch: int) -> float:
        """Factor of the loss of this batch of an epoch, counted from 0, before its backward pass.

        Accelerate divides by the batches of a full accumulation window, the last of an epoch may
        have fewer; DistributedDataParallel averages what should be summed, see `gather_batch`.
        """
        full = self.config.train.grad_accum_steps
        window = min(full, len(self.loader) - batch // full * full)
        return self.accelerator.num_processes * full / window


def prepare_training(
    config: Config,
    source: Source,
    *,
    run: Run | None,
    resume: bool,
    extend: bool,
    on_notice: Callable[[str], None],
) -> Training:
    """Reads and checks all input, then makes the run folder, so that a mistake leaves none behind.

    For arguments and errors see `acdc_seg.training.loop.train`.
    """
    check_trackers(config.train.trackers)
    device = resolve_device(config.train.device)
    precision = resolve_precision(config.train.precision, device)
    name, config = config.name, with_overrides(config, {"train.precision": precision, "name": None})
    data = with_size(config.data, source, on_notice=on_notice)
    config = with_overrides(config, {"data.size": data.size, "data.fit": data.fit})
    num_threads = config.train.num_threads
    if num_threads is None and resume and run is not None:  # for the same last digits
        num_threads = run.read_json().get("num_threads")
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    prepare_backend(device)
    set_seed(config.seed)
    accelerator = make_accelerator(
        config.train,
        device=device,
        precision=precision,
        find_unused_parameters=_is_frozen(config, epoch=0),
    )
    num_workers = loader_workers(
        config.data.num_workers, device, num_processes=accelerator.num_processes
    )
    loader, validation = _load_data(config, source, on_notice, num_workers=num_workers)
    sampler = loader.sampler
    assert isinstance(sampler, EpochSampler)
    check_batch_divides(config.train.batch_size, len(sampler), accelerator.num_processes)
    network, trained_before = _make_network(config, on_notice, fresh=not resume)
    state, model, loader = _build(config, network, loader, accelerator)
    _warn_of_leakage(config, source, trained_before, on_notice)
    make_run = partial(create_run, config, name=name) if run is None else lambda: run
    writer = RunWriter(
        on_main_process(accelerator, make_run), config, source, active=accelerator.is_main_process
    )
    writer.pretrained_on = trained_before
    if accelerator.is_main_process:
        writer.fingerprint = _describe_data(config, source, on_notice)
    if resume:
        state.load_state_dict(writer.read_last(extend=extend))
        batches = f" and {state.batch} batches" if state.batch else ""
        on_notice(f"Resuming after epoch {state.epoch}{batches} of {config.train.epochs}.")
    criterion = build_loss(
        config.loss,
        num_classes=len(config.classes.names),
        ignore_index=IGNORE_INDEX if _may_be_void(config) else None,
        has_background=config.classes.has_background,
    ).to(accelerator.device)
    return Training(
        config, accelerator, state, model, criterion, loader, sampler, validation, writer
    )


def _may_be_void(config: Config) -> bool:
    """Whether masks can hold void pixels: their own, padding, or what augmentation brings in."""
    is_padded = config.data.size is not None and config.data.fit != "stretch"
    is_sheared = config.augment.preset in VOID_PRESETS
    return config.classes.void is not None or is_padded or is_sheared


def _warn_of_leakage(
    config: Config,
    source: Source,
    pretrained_on: tuple[TrainedOn, ...],
    on_notice: Callable[[str], None],
) -> None:
    """Says that the weights that a training starts from were trained on its validation images."""
    validation = source.split("val")
    seen = find_seen(
        validation, pretrained_on, siblings=source.records, data=data_name(source, config.data)
    )
    if seen:
        on_notice(
            f"Data leakage: the weights that it starts from were trained on {len(seen)} of the "
            f"{len(validation)} validation images, or on their patients; the validation Dice will "
            "be too high. Start from a run that was not trained on them."
        )


def _describe_absent(classes: ClassesConfig, absent: Collection[str]) -> str:
    """Says which classes no training mask has, and the settings for those that occur."""
    present = [label for label in classes.labels if label.name not in absent]
    rows = [("names", [label.name for label in present])]
    if classes.mask_encoding == "values":
        rows.append(("values", [str(label.value) for label in present]))
    else:
        rows.append(("colors", [str(list(label.color)).replace(" ", "") for label in present]))
    settings = " ".join(f"classes.{column}=[{','.join(texts)}]" for column, texts in rows)
    remedy = f"set {settings}" if len(present) > 1 else "set classes"
    return (
        f"Classes that no training mask has: {', '.join(absent)}. Where a prediction has none "
        f"either, they score 1, which flatters the mean. If the data has other classes, {remedy}."
    )


def _describe_data(
    config: Config, source: Source, on_notice: Callable[[str], None]
) -> dict[str, Any]:
    """The fingerprint of the data, and notices of what looks wrong in it."""
    records = [*source.split("train"), *source.split("val")]
    fingerprint, warnings = take_fingerprint(
        records, root=source.root, data=config.data, classes=config.classes
    )
    for warning in warnings:
        on_notice(f"{warning}.")
    return fingerprint


def _load_data(
    config: Config, source: Source, on_notice: Callable[[str], None], *, num_workers: int
) -> tuple[DataLoader[Any], Sequence[Example]]:
    """The loader of training batches and the examples to validate on, all files checked."""
    if not config.data.validation and config.train.patience is not None:
        raise ConfigError(
            f"train.patience={config.train.patience} needs validation, which "
            "data.validation=false leaves out; set train.patience=null"
        )
    training, validation = source.split("train"), source.split("val")
    data, classes = config.data, config.classes
    with all_problems([*training, *validation], root=source.root, data=data, classes=classes):
        loaded = load_examples(training, validation, data=data, classes=classes)
    height, width = config.data.size or loaded.training[0][-1].shape
    if min(height, width) < MIN_SIZE:
        raise DataError(
            f"{source.root}: images of {height}x{width} are too small, {MIN_SIZE} is the least; "
            "set data.size",
            code="size",
        )
    if not loaded.validation and config.data.validation:
        raise DataError(
            f"{source.root}: no images to validate on; two patients are needed at least, or a val "
            "folder, or data.validation=false to do without"
        )
    if config.data.cache == "auto" and loaded.storage != "memory":
        on_notice(
            f"The images would take {megabytes(loaded.num_bytes)} of memory: they are kept on "
            f"{loaded.storage} instead."
        )
    if loaded.absent:
        on_notice(_describe_absent(config.classes, loaded.absent))
    dataset = TrainingSet(
        loaded.training,
        augment=config.augment,
        seed=config.seed,
        window=config.data.window,
        foreground=config.data.foreground_windows,
    )
    loader = make_loader(dataset, batch_size=config.train.batch_size, num_workers=num_workers)
    return loader, loaded.validation


def _make_network(
    config: Config, on_notice: Callable[[str], None], *, fresh: bool
) -> tuple[SegmentationModel, tuple[TrainedOn, ...]]:
    """The network, if `fresh` with the weights that it starts from, and what they were trained on.

    Raises:
        ConfigError: Two settings say what the encoder starts from.
    """
    network = build_model(config.model, config.data.channels, len(config.classes.names))
    pretrained = config.model.pretrained if isinstance(config.model, EncoderConfig) else None
    if pretrained and config.train.start_from:
        raise ConfigError(
            f"model.pretrained={pretrained} and train.start_from={config.train.start_from}: the "
            "encoder has one start; leave one of them out"
        )
    if not fresh:
        return network, ()
    if config.train.start_from:
        return network, load_weights(network, config, on_notice)
    if pretrained:
        return network, tuple(
            map(TrainedOn.from_dict, load_pretrained(network.encoder, pretrained))
        )
    return network, ()


def _build(
    config: Config, network: SegmentationModel, loader: DataLoader[Any], accelerator: Accelerator
) -> tuple[TrainState, nn.Module, Any]:
    """What moves the network, on the device, the wrapped network, and the loader."""
    sync_layers(network, accelerator)
    network = to_memory_format(network.to(accelerator.device))
    decay = config.train.ema_decay
    ema = None if decay is None else AveragedWeights(network, decay)
    has_kernel = accelerator.device.type in ("cpu", "cuda") and accelerator.scaler is None
    optimizer = build_optimizer(network, config.optimizer, fused=has_kernel)
    model, optimizer, prepared = accelerator.prepare(network, optimizer, loader)
    if config.train.compile:
        check_compiler(accelerator.device)
        model.compile()
    num_steps = config.train.epochs * math.ceil(len(prepared) / config.train.grad_accum_steps)
    schedule = build_schedule(optimizer.optimizer, config.schedule, num_steps=num_steps)
    state = TrainState(network, ema, optimizer, schedule, accelerator.scaler)
    return state, model, prepared


def _is_frozen(config: Config, epoch: int) -> bool:
    return isinstance(config.model, EncoderConfig) and config.model.is_frozen(epoch)
