"""What a training writes while it runs: history, checkpoints and TensorBoard events, in the run
folder.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from acdc_seg.config import Config, differences, dump_yaml
from acdc_seg.data.record import Record
from acdc_seg.data.source import Source
from acdc_seg.errors import AcdcError, CheckpointError, DataError
from acdc_seg.report.figures import overlay
from acdc_seg.runs.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, save_checkpoint
from acdc_seg.runs.folder import Run, environment

FREE_SETTINGS = (
    "data.path",
    "data.cache",
    "data.num_workers",
    "runs_dir",
    "train.checkpoint_interval_s",
)
"""Settings that may differ on resuming: they change where files lie and how fast it goes, not the
result.
"""


class RunWriter:
    """Writes one run folder; an inactive journal (of a process that is not the first) writes
    nothing.
    """

    def __init__(self, run: Run, config: Config, source: Source, *, active: bool) -> None:
        self.run, self.config, self.source, self.active = run, config, source, active
        self.saved_at = time.monotonic()
        self.events: SummaryWriter | None = None

    @contextmanager
    def recording(self, *, first_epoch: int) -> Iterator[None]:
        """Writes config.yaml and run.json and opens the event file; where the block raises,
        run.json says why it ended.
        """
        if not self.active:
            yield
            return
        self._start(first_epoch)
        assert self.events is not None
        try:
            yield
        except BaseException as error:
            with suppress(AcdcError):
                self._write_end("failed", reason=str(error) or type(error).__name__)
            raise
        finally:
            with suppress(OSError):  # all that matters is written
                self.events.close()

    def _start(self, first_epoch: int) -> None:
        self.started = time.monotonic()
        self.seconds_before = self.run.read_json().get("seconds", 0.0)
        splits = {name: self.source.split(name) for name in ("train", "val")}
        self.run.write_config(self.config)
        self.run.update_json(
            status="running",
            reason=None,
            started=self.run.read_json().get(
                "started", datetime.now(UTC).isoformat(timespec="seconds")
            ),
            data=self.source.kind,
            data_path=self.config.data.path,
            data_sha256=self.source.digest(),
            num_images={name: len(records) for name, records in splits.items()},
            num_patients={
                name: len({record.patient for record in records})
                for name, records in splits.items()
            },
            val_patients=sorted({record.patient for record in splits["val"]}),
            seed=self.config.seed,
            precision=self.config.train.precision,
            **environment(),
        )
        with self._writing_events():
            self.events = SummaryWriter(str(self.run.folder), purge_step=first_epoch + 1)
            self.events.add_text("config", f"```yaml\n{dump_yaml(self.config)}\n```", 0)

    def add(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Rewrites history.csv and adds the last epoch's numbers to TensorBoard."""
        if not self.active or self.events is None:
            return
        self._check_folder()
        self.run.write_history(history)
        row = history[-1]
        with self._writing_events():
            for name, value in row.items():
                if name != "epoch":
                    self.events.add_scalar(_tag(name), value, row["epoch"])
            self.events.flush()

    def draw(
        self,
        epoch: int,
        examples: Sequence[tuple[Record, torch.Tensor, torch.Tensor]],
        labels: Sequence[torch.Tensor],
    ) -> None:
        """Adds a few validation images to TensorBoard, prediction left and truth right."""
        if not self.active or self.events is None:
            return
        step = max(1, len(examples) // self.config.train.num_log_images)
        for row in range(0, len(examples), step)[: self.config.train.num_log_images]:
            (record, image, mask), predicted = examples[row], labels[row]
            colors = self.config.classes.colors
            pair = [
                torch.from_numpy(overlay(image.numpy(), part.numpy(), colors=colors))
                for part in (predicted, mask)
            ]
            with self._writing_events():
                self.events.add_image(
                    f"validation/{record.id}", torch.cat(pair, dim=1), epoch, dataformats="HWC"
                )

    def save_best(self, network: nn.Module, *, epoch: int, dice: float | None) -> None:
        """Writes best.pt: the weights to predict with."""
        if self.active:
            self._check_folder()
            save_checkpoint(self.run.best, self._checkpoint(network.state_dict(), epoch, dice))

    def save_when_due(self, epoch: int, make_state: Callable[[], dict[str, Any]]) -> None:
        """Writes last.pt if `train.checkpoint_interval_s` have passed since the last time."""
        if (
            self.active
            and time.monotonic() - self.saved_at >= self.config.train.checkpoint_interval_s
        ):
            self._save_last(make_state())

    def read_last(self, *, extends: bool = False) -> dict[str, Any]:
        """The training state of last.pt.

        Args:
            extends: `train.epochs` may be more than in the checkpoint.

        Raises:
            CheckpointError: No such file, it belongs to another config or other data, or holds no
                such state.
        """
        if not has_checkpoint(self.run.last):
            raise CheckpointError(
                f"{self.run.folder}: no last.pt to resume from; start the run anew without --resume"
            )
        checkpoint = load_checkpoint(self.run.last)
        self._check_config(checkpoint.config, extends=extends)
        if self.run.read_json().get("data_sha256", "") not in ("", self.source.digest()):
            raise CheckpointError(
                f"{self.run.folder}: the images at {self.source.root} are not those it was "
                "trained on; start a run anew"
            )
        if checkpoint.training is None:
            raise CheckpointError(
                f"{self.run.last}: holds weights alone, no state of training; start the run anew "
                "without --resume"
            )
        state = dict(checkpoint.training)
        if extends and has_checkpoint(
            self.run.best
        ):  # it may be of a later epoch than last.pt, which now will not come again
            best = load_checkpoint(self.run.best)
            state |= {"best_dice": best.dice, "best_epoch": best.epoch}
        return state

    def _check_config(self, there: Config, *, extends: bool) -> None:
        changed = {
            key: values
            for key, values in differences(there, self.config).items()
            if key not in FREE_SETTINGS
        }
        old, new = changed.pop("train.epochs", (0, 0)) if extends else (0, 0)
        if new < old:
            raise CheckpointError(
                f"{self.run.folder}: cannot be extended from {old} to {new} epochs; give more"
            )
        if changed:
            listed = "\n".join(
                f"  {key}: {old} in the run, {new} now" for key, (old, new) in changed.items()
            )
            remedy = (
                "; for more epochs give --extend-epochs"
                if changed.keys() == {"train.epochs"}
                else ""
            )
            raise CheckpointError(
                f"{self.run.last}: was written with other settings, and going on would be neither "
                f"run:\n{listed}\n"
                f"resume with the run's own settings, or start a run anew{remedy}"
            )

    def close(self, state: dict[str, Any], *, stopped: bool) -> None:
        """Writes last.pt and how the training ended."""
        if not self.active:
            return
        self._save_last(state)
        self._write_end(
            "stopped" if stopped else "finished",
            epochs=state["epoch"],
            best_dice=state["best_dice"],
            best_epoch=state["best_epoch"],
        )

    def _write_end(self, status: str, **fields: Any) -> None:
        self._check_folder()
        self.run.update_json(
            status=status,
            seconds=round(self.seconds_before + time.monotonic() - self.started, 1),
            **fields,
        )

    def _save_last(self, state: dict[str, Any]) -> None:
        self._check_folder()
        weights = state["model"]
        save_checkpoint(
            self.run.last,
            self._checkpoint(weights, state["epoch"], state["best_dice"], training=state),
        )
        self.saved_at = time.monotonic()

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
        """A folder removed under a training is not made anew: half a run in it would look like a
        whole one.
        """
        if not self.run.folder.is_dir():
            raise DataError(
                f"{self.run.folder}: the run folder was removed while its training ran; start the "
                "run anew"
            )

    def _checkpoint(
        self,
        weights: Mapping[str, torch.Tensor],
        epoch: int,
        dice: float | None,
        training: Mapping[str, Any] | None = None,
    ) -> Checkpoint:
        return Checkpoint(
            config=self.config,
            weights=weights,
            epoch=epoch,
            dice=dice,
            data=self.source.kind,
            training=training,
        )


def _tag(name: str) -> str:
    """TensorBoard's name of a column of history.csv: losses, Dice scores and the rest in groups of
    their own.
    """
    group = "loss" if name.endswith("loss") else "dice" if name.startswith("dice") else "run"
    return f"{group}/{name}"
