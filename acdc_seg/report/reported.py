"""Runs, and evaluations of runs and ensembles, as acdc-report reads them from their folders."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from acdc_seg.config import Config, load_config
from acdc_seg.data.examples import Example, read_example
from acdc_seg.data.record import SPLITS, ProgressCallback
from acdc_seg.errors import AcdcError, ConfigError
from acdc_seg.evaluation import ALL_IMAGES, SplitImages, open_split
from acdc_seg.inference.load import load_described, load_predictor, read_settings
from acdc_seg.inference.stored import find_probabilities
from acdc_seg.inference.stream import predict_examples, read_examples
from acdc_seg.report.evidence import Evidence
from acdc_seg.report.scores import Scores, read_scores
from acdc_seg.runs.folder import Run


@dataclass(frozen=True)
class ReportedRun:
    """A folder with a metrics.json.

    Attributes:
        folder: It.
        config: Settings of the run, of an ensemble those of its first member; None where those
            are gone.
        run: Content of run.json; empty for an evaluation.
        history: One dict per epoch; empty for an evaluation.
        scores: Its scores.
    """

    folder: Path
    config: Config | None
    run: dict[str, Any]
    history: list[dict[str, float | None]]
    scores: Scores

    @property
    def is_run(self) -> bool:
        """Whether it is the folder of a run, not an evaluation."""
        return (self.folder / "config.yaml").is_file()

    @property
    def protocol(self) -> dict[str, Any]:
        """What was scored on what; empty in metrics.json of early versions."""
        return dict(self.scores.content.get("protocol") or {})


def open_reported(path: Path) -> ReportedRun:
    """Reads a run, the folder of an evaluation, or an ensemble that was evaluated into val/.

    Raises:
        ConfigError: No metrics.json there.
        DataError: A damaged file.
    """
    inner = path / "val"
    if not (path / "metrics.json").is_file() and (inner / "metrics.json").is_file():
        path = inner
    content = read_scores(path / "metrics.json")
    if (path / "config.yaml").is_file():
        config: Config | None = load_config(path / "config.yaml", with_recipe=False)
    else:
        config = _member_config(content)
    if config is None:
        classes = ["background", *content["classes"]]
        colors = {}
    else:
        classes = list(config.classes.names)
        colors = dict(zip(classes, config.classes.colors, strict=True))
    scores = Scores(_name(path), content, classes, colors)
    return ReportedRun(path, config, Run(path).read_json(), read_history(path), scores)


def read_history(folder: Path) -> list[dict[str, float | None]]:
    """Rows of history.csv as numbers, None where a cell is empty; none where there is no file."""
    path = folder / "history.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: float(value) if value else None for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def collect_evidence(
    reported: ReportedRun,
    *,
    device: str = "auto",
    batch_size: int = 16,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> Evidence:
    """Predicts the images again, or reads their stored probabilities, for pictures.

    Args:
        reported: The run or evaluation.
        device: auto, cpu, cuda or mps.
        batch_size: Most images that are predicted at a time.
        on_progress: Called with a description, images done and their number.

    Raises:
        AcdcError: Weights or data are gone, or have changed.
    """
    config = reported.config
    if config is None:
        raise ConfigError("the runs that were scored are gone")
    images = _open_images(reported, config, on_progress)
    records = [record for record in images.records if record.id in reported.scores]
    images = images._replace(records=records)
    evidence = Evidence()

    def report(done: int) -> None:
        on_progress(f"pictures of {reported.scores.name}", done, len(records))

    for _ in evidence.watch(_predictions(reported, images, device, batch_size, report)):
        pass
    return evidence


def _predictions(
    reported: ReportedRun,
    images: SplitImages,
    device: str,
    batch_size: int,
    on_image: Callable[[int], None],
) -> Iterator[tuple[Example, torch.Tensor]]:
    records, best = images.records, Run(reported.folder).best
    folder = reported.folder / "probabilities"
    stored = find_probabilities(folder, records, checkpoint=best) if reported.is_run else None
    if stored is not None:
        config = images.config
        for done, record in enumerate(records, start=1):
            example = read_example(record, data=config.data, classes=config.classes)
            yield example, torch.from_numpy(stored[record.id].copy())
            on_image(done)
        return
    if reported.is_run:
        predictor = load_predictor(best, device=device)
    else:
        predictor = load_described(reported.protocol, device=device)
    examples = read_examples(records, predictor)
    yield from predict_examples(predictor, examples, batch_size=batch_size, on_image=on_image)


def _open_images(
    reported: ReportedRun, config: Config, on_progress: ProgressCallback
) -> SplitImages:
    protocol = reported.protocol
    if reported.is_run or not protocol:
        return open_split(config, None, "val", on_progress)
    split, data = protocol["split"], protocol["data"]
    own = config.data.path is None or str(Path(config.data.path).resolve()) == data
    return open_split(
        config, None if own else data, None if split == ALL_IMAGES else split, on_progress
    )


def _member_config(content: dict[str, Any]) -> Config | None:
    members = (content.get("protocol") or {}).get("members") or []
    try:
        return read_settings(members[0]["path"]) if members else None
    except AcdcError:
        return None


def _name(path: Path) -> str:
    """The folder's name, with that of the run or ensemble whose evaluation it is."""
    folder = path.resolve()
    if (folder / "config.yaml").is_file() or not folder.name.startswith((*SPLITS, ALL_IMAGES)):
        return folder.name
    return folder.parent.name if folder.name == "val" else f"{folder.parent.name}/{folder.name}"
