"""MLflow and Weights & Biases, through Accelerate's trackers: scores and settings of a training.

TensorBoard's events are files of the run folder and written by `runs/writer.py`. Where a server is
not reached, a training is refused before its first step, and goes on without it afterwards:
history.csv has the same numbers.
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from acdc_seg.config import Config, to_dict
from acdc_seg.errors import AcdcWarning, ConfigError
from acdc_seg.runs.folder import Run

PACKAGES = {"mlflow": "mlflow", "wandb": "wandb"}
"""Package that each tracker imports; its extra has the tracker's name."""
PROJECT = "acdc_seg"
"""Experiment of MLflow and project of W&B, unless the environment names another."""


def check_trackers(names: Iterable[str]) -> None:
    """Raises ConfigError for a tracker whose package is not installed; imports none."""
    for name in names:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            raise ConfigError(
                f"train.trackers: {name} is not installed; install it with: pip install "
                f"'acdc_seg[{name}]'"
            )


class Trackers:
    """Those of one run, from `start` to `finish`."""

    def __init__(self) -> None:
        self.trackers: dict[str, Any] = {}

    def start(self, run: Run, config: Config) -> None:
        """Opens the run at every tracker but TensorBoard; that of a resumed run again.

        The ids are in run.json as `trackers`.

        Args:
            run: Its folder's name is the name of the run there.
            config: Its settings, flat, are what the run is compared by.

        Raises:
            ConfigError: A tracker refuses, or its server is not reached.
        """
        known = run.read_json().get("trackers", {})
        ids = {}
        for name in dict.fromkeys(config.train.trackers):
            if name == "tensorboard":
                continue
            try:
                tracker = _OPEN[name](run, known.get(name))
                tracker.start()
                self.trackers[name] = tracker
                if name not in known:  # MLflow refuses to change a parameter
                    tracker.store_init_configuration(flatten(to_dict(config)))
            except Exception as error:  # of any library that a server is reached by
                self.finish(failed=True)
                raise ConfigError(
                    f"train.trackers: {name} cannot be used: {_first_line(error)}; check its "
                    "server and settings, or leave it out"
                ) from None
            ids[name] = _id_of(name, tracker)
        if ids:
            run.update_json(trackers={**known, **ids})

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Sends the numbers of an epoch; a tracker that fails is left out from here on."""
        for name, tracker in list(self.trackers.items()):
            try:
                tracker.log(dict(values), step=step)
            except Exception as error:
                del self.trackers[name]
                warnings.warn(
                    f"{name} does not take the scores of epoch {step} ({_first_line(error)}); the "
                    "training goes on without it, history.csv has all scores",
                    AcdcWarning,
                    stacklevel=2,
                )

    def finish(self, *, failed: bool) -> None:
        """Closes the runs there; a failed one is marked so."""
        for name, tracker in self.trackers.items():
            with suppress(Exception):  # all that matters is in the run folder
                if name == "wandb":
                    tracker.run.finish(exit_code=int(failed))
                elif failed:
                    _end_mlflow_failed()
                else:
                    tracker.finish()
        self.trackers = {}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted names; lists and nothing are texts, since trackers take plain values.

    Args:
        tree: Sections and their values.
        prefix: Name of the section, with a dot.
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            is_plain = isinstance(value, bool | int | float | str)
            flat[prefix + name] = value if is_plain else str(value)
    return flat


def _open_mlflow(run: Run, run_id: str | None) -> Any:
    from accelerate.tracking import MLflowTracker

    return MLflowTracker(PROJECT, run_id=run_id, run_name=run.folder.name)


def _open_wandb(run: Run, run_id: str | None) -> Any:
    from accelerate.tracking import WandBTracker

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    options = {"id": run_id, "resume": "allow"} if run_id else {}
    return WandBTracker(project, name=run.folder.name, dir=str(run.folder), **options)


_OPEN = {"mlflow": _open_mlflow, "wandb": _open_wandb}


def _id_of(name: str, tracker: Any) -> str:
    """By which the run is found again."""
    return str(tracker.active_run.info.run_id if name == "mlflow" else tracker.run.id)


def _end_mlflow_failed() -> None:
    import mlflow

    mlflow.end_run(status="FAILED")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
