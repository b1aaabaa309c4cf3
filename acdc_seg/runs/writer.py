"""Writer of a run folder while its training runs: history, checkpoints, trackers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from acdc_seg.config import Config, differences, dump_yaml
from acdc_seg.data.record import Record
from acdc_seg.data.source import Source
from acdc_seg.errors import AcdcError, CheckpointError, DataError
from acdc_seg.runs.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, save_checkpoint
from acdc_seg.runs.folder import Run, environment
from acdc_seg.runs.overlay import overlay
from acdc_seg.runs.trackers import Trackers
from acdc_seg.runs.trained_on import TrainedOn, training_images, union

FREE_SETTINGS = (
    "data.path",
    "data.cache",
    "data.num_workers",
    "runs_dir",
    "train.checkpoint_interval_s",
    "train.keep_last",
    "train.trackers",
)
"""Settings that may differ on resuming: they change places and speed, not the result."""


class RunWriter:
    """Writes one run folder; an inactive writer (of a process other than the main one) writes
    nothing.
    """

    def __init__(self, run: Run, config: Config, source: Source, *, active: bool) -> None:
        self.run, self.config, self.source, self.active = run, config, source, active
        self.saved_at = time.monotonic()
        self.pretrained_on: tuple[TrainedOn, ...] = ()
        self.fingerprint: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self.events: SummaryWriter | None = None
        self.trackers = Trackers()

    @contextmanager
    def recording(self, *, first_epoch: int) -> Iterator[None]:
        """Writes config.yaml and run.json and opens the trackers of `train.trackers`.

        Where the block raises, run.json gets the reason, and as status the error's `run_status` or
        "failed".
        """
        if not self.active:
            yield
            return
        self._start(first_epoch)
        status = "finished"
        try:
            self.trackers.start(self.run, self.config)
            yield
        except BaseException as error:
            status = getattr(error, "run_status", "failed")
            with suppress(AcdcError):
                reason = str(error) or type(error).__name__
                self._write_end(status, reason=reason if status == "failed" else None)
            raise
        finally:
            self.trackers.finish(failed=status == "failed")
            with suppress(OSError):  # all that matters is written
                if self.events is not None:
                    self.events.close()

    def add(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Rewrites history.csv and gives the last epoch's numbers to the trackers."""
        if not self.active:
            return
        self._check_folder()
        self.run.write_history(history)
        epoch = history[-1]["epoch"]
        values = {_tag(name): value for name, value in history[-1].items() if name != "epoch"}
        self.trackers.log(values, step=epoch)
        if self.events is None:
            return
        with self._writing_events():
            for tag, value in values.items():
                self.events.add_scalar(tag, value, epoch)
            self.events.flush()

    def draw(
        self,
        epoch: int,
        examples: Sequence[tuple[Record, torch.Tensor, torch.Tensor]],
        predict: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        """Adds a few validation images to TensorBoard, the prediction left and the mask right.

        Args:
            epoch: Epochs that are finished.
            examples: Records, images `(C, H, W)` and masks `(H, W)`, to choose from.
            predict: Maps an image to its labels `(H, W)`.
        """
        if not self.active or self.events is None:
            return
        num_images, classes = self.config.train.num_log_images, self.config.classes
        step = max(1, len(examples) // num_images)
        for index in range(0, len(examples), step)[:num_images]:
            record, image, mask = examples[index]
            pair = [
                torch.from_numpy(
                    overlay(
                        image.numpy(), labels.numpy(), colors=classes.colors, first=classes.first
                    )
                )
                for labels in (predict(image), mask)
            ]
            with self._writing_events():
                self.events.add_image(
                    f"validation/{record.id}", torch.cat(pair, dim=1), epoch, dataformats="HWC"
                )

    def save_best(self, network: nn.Module, *, epoch: int, dice: float | None) -> None:
        """Writes best.pt: the weights to predict with."""
        self.best = {"best_dice": dice, "best_epoch": epoch}
        if self.active:
            self._check_folder()
            save_checkpoint(self.run.best, self._checkpoint(network.state_dict(), epoch, dice))

    def save_when_due(self, make_state: Callable[[], dict[str, Any]]) -> bool:
        """Writes last.pt if `train.checkpoint_interval_s` passed since the last time; returns
        whether it did.
        """
        interval = self.config.train.checkpoint_interval_s
        is_due = self.active and time.monotonic() - self.saved_at >= interval
        if is_due:
            self._save_last(make_state())
        return is_due

    def close(self, state: dict[str, Any], *, stopped: bool) -> None:
        """Writes last.pt and how the training ended."""
        if not self.active:
            return
        self.best = {name: state[name] for name in ("best_dice", "best_epoch")}
        self._save_last(state)
        self._write_end("stopped" if stopped else "finished", epochs=state["epoch"])

    def read_last(self, *, extend: bool = False) -> dict[str, Any]:
        """The training state of last.pt.

        Args:
            extend: `train.epochs` may be more than in the checkpoint.

        Raises:
            CheckpointError: No such file, it belongs to another config or other data, or holds no
                such state.
        """
        if not has_checkpoint(self.run.last):
            raise CheckpointError(
                f"{self.run.folder}: no last.pt to resume from; start again without --resume"
            )
        checkpoint = load_checkpoint(self.run.last)
        check_settings(self.run, checkpoint.config, self.config, extend=extend)
        if self.run.read_json().get("data_sha256", "") not in ("", self.source.digest()):
            raise CheckpointError(
                f"{self.run.folder}: the images at {self.source.root} are not those it was "
                "trained on; start a new run"
            )
        if checkpoint.training is None:
            raise CheckpointError(
                f"{self.run.last}: holds weights alone, no training state; start again without "
                "--resume"
            )
        self.pretrained_on = checkpoint.trained_on
        state = dict(checkpoint.training)
        if extend and has_checkpoint(self.run.best):
            # best.pt may be of a later epoch than last.pt, one that the longer schedule changes
            best = load_checkpoint(self.run.best)
            state |= {"best_dice": best.dice, "best_epoch": best.epoch}
        return state

    def _start(self, first_epoch: int) -> None:
        self.started = time.monotonic()
        before = self.run.read_json()
        self.seconds_before = before.get("seconds", 0.0)
        splits = {name: self.source.split(name) for name in ("train", "val")}
        patients = {
            name: {record.patient for record in records} for name, records in splits.items()
        }
        self.run.write_config(self.config)
        self.run.update_json(
            status="running",
            reason=None,
            started=before.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
            data=self.source.kind,
            data_path=self.config.data.path,
            data_sha256=self.source.digest(),
            num_images={name: len(records) for name, records in splits.items()},
            num_patients={name: len(names) for name, names in patients.items()},
            val_patients=sorted(patients["val"]),
            fingerprint=self.fingerprint,
            seed=self.config.seed,
            precision=self.config.train.precision,
            num_threads=torch.get_num_threads(),
            **environment(),
        )
        if "tensorboard" not in self.config.train.trackers:
            return
        with self._writing_events():
            self.events = SummaryWriter(str(self.run.folder), purge_step=first_epoch + 1)
            self.events.add_text("config", f"```yaml\n{dump_yaml(self.config)}\n```", 0)

    def _save_last(self, state: dict[str, Any]) -> None:
        self._check_folder()
        save_checkpoint(
            self.run.last,
            self._checkpoint(state["model"], state["epoch"], state["best_dice"], training=state),
        )
        self.saved_at = time.monotonic()

    def _write_end(self, status: str, **fields: Any) -> None:
        self._check_folder()
        seconds = round(self.seconds_before + time.monotonic() - self.started, 1)
        self.run.update_json(status=status, seconds=seconds, **self.best, **fields)

    def _checkpoint(
        self,
        weights: Mapping[str, torch.Tensor],
        epoch: int,
        dice: float | None,
        training: Mapping[str, Any] | None = None,
    ) -> Checkpoint:
        return Checkpoint(
            self.config, weights, epoch, dice, self.source.kind, training, self._trained_on
        )

    @cached_property
    def _trained_on(self) -> tuple[TrainedOn, ...]:
        return union(*self.pretrained_on, training_images(self.source, self.config.data))

    @contextmanager
    def _writing_events(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.run.folder}: cannot write TensorBoard's events ({error.strerror}); check "
                "free space"
            ) from None

    def _check_folder(self) -> None:
        """Do not recreate a run folder that was deleted during training: half a run in it would
        look like a whole one.
        """
        if not self.run.folder.is_dir():
            raise DataError(
                f"{self.run.folder}: the run folder was removed while its training ran; start "
                "the run again"
            )


def check_settings(run: Run, saved: Config, config: Config, *, extend: bool = False) -> None:
    """Checks that a run may be resumed with these settings.

    Args:
        run: The run.
        saved: Its settings so far.
        config: Settings to resume with.
        extend: `train.epochs` may be more.

    Raises:
        CheckpointError: They differ in what changes the result.
    """
    changed = differences(saved, config)
    for key in FREE_SETTINGS:
        changed.pop(key, None)
    old, new = changed.pop("train.epochs", (0, 0)) if extend else (0, 0)
    if new < old:
        raise CheckpointError(
            f"{run.folder}: cannot be extended from {old} to {new} epochs; give more"
        )
    if changed:
        lines = [f"  {key}: {old} in the run, {new} now" for key, (old, new) in changed.items()]
        only_epochs = changed.keys() == {"train.epochs"}
        remedy = "; for more epochs give --extend-epochs" if only_epochs else ""
        raise CheckpointError(
            "\n".join(
                [
                    f"{run.folder}: exists with different settings:",
                    *lines,
                    f"resume with the run's own settings, or start a new run{remedy}",
                ]
            )
        )


def _tag(name: str) -> str:
    """TensorBoard's name of a column of history.csv: losses, Dice scores and the rest grouped."""
    group = "loss" if name.endswith("loss") else "dice" if name.startswith("dice") else "run"
    return f"{group}/{name}"
