"""A run: the folder that holds everything one training produced."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from acdc_seg import __version__
from acdc_seg.config import Config, dump_yaml
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import numbered, write_table, write_text

LIBRARIES = ("torch", "monai", "accelerate", "albumentations", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Run:
    """Paths of a run folder; see docs/runs.md for what each file holds."""

    folder: Path

    @property
    def best(self) -> Path:
        """The weights to predict with."""
        return self.folder / "best.pt"

    @property
    def last(self) -> Path:
        """The latest weights and training state, to resume from."""
        return self.folder / "last.pt"

    def is_complete(self) -> bool:
        """Whether the training finished and its scores, or where nothing validates its report, are
        written.
        """
        finished = self.read_json().get("status") == "finished"
        return finished and any(
            (self.folder / name).is_file() for name in ("metrics.json", "report.html")
        )

    def remove_training_state(self) -> None:
        """Removes the checkpoints that only resuming needs, so that best.pt remains."""
        for name in ("last.pt", "last.previous.pt", "best.previous.pt"):
            (self.folder / name).unlink(missing_ok=True)

    def write_config(self, config: Config) -> None:
        """config.yaml: the whole config, with which `acdc-train --config` repeats the run."""
        write_text(self.folder / "config.yaml", dump_yaml(config))

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """history.csv: a row per epoch."""
        header = list(max(rows, key=len, default=()))  # a validated epoch has the most columns
        write_table(
            self.folder / "history.csv",
            [header, *([_rounded(row.get(name, "")) for name in header] for row in rows)],
        )

    def update_json(self, **fields: Any) -> None:
        """run.json: sets these fields and keeps the others."""
        write_text(
            self.folder / "run.json",
            json.dumps({**self.read_json(), **fields}, indent=2, allow_nan=False) + "\n",
        )

    def read_json(self) -> dict[str, Any]:
        """The content of run.json, empty where there is none.

        Raises:
            DataError: The file is damaged.
        """
        path = self.folder / "run.json"
        try:
            tree = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError, RecursionError):
            tree = None
        if not isinstance(tree, dict):
            raise DataError(
                f"{path}: damaged; copy it again from its source, or remove it and lose what it "
                "says of the run"
            )
        return tree


def create_run(config: Config, *, name: str | None) -> Run:
    """Makes the folder of a new run below `runs_dir`: this name, or the model's with the next free
    number.

    Raises:
        ConfigError: The named folder holds a run already.
        DataError: The folder cannot be made.
    """
    base = Path(config.runs_dir)
    try:
        if name is None:
            return Run(_fresh_folder(base, config.model.name))
        folder = base / name
        if folder.is_dir() and any(folder.iterdir()):
            resumable = (folder / "last.pt").is_file()
            remedy = f"resume it with acdc-train --resume {folder}" if resumable else "remove it"
            raise ConfigError(f"{folder}: holds a run already; {remedy}, or choose another --name")
        folder.mkdir(parents=True, exist_ok=True)
        return Run(folder)
    except OSError as error:
        raise DataError(
            f"{base}: cannot make a run folder ({error.strerror}); check permissions, or set "
            "runs_dir"
        ) from None


def environment() -> dict[str, Any]:
    """Versions, host and commit, as run.json records them."""
    return {
        "acdc_seg": __version__,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "host": platform.node(),
        "platform": platform.platform(),
        "commit": _commit(),
    }


def _fresh_folder(base: Path, name: str) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    for each in numbered(name):
        with suppress(FileExistsError):
            (base / each).mkdir()
            break
    return base / each


def _rounded(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that the package is imported from, if it is one."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
