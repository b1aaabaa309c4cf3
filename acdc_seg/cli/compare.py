"""Scores of one run against those of others, for acdc-evaluate."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from acdc_seg.cli.app import console, shell_path
from acdc_seg.cli.options import parse_weights
from acdc_seg.cli.progress import progress_bar

if TYPE_CHECKING:
    from acdc_seg.evaluation import Evaluation, SplitImages
    from acdc_seg.inference.predictors import Predictor


@dataclass(frozen=True)
class Request:
    """Options that hold for every run of a command."""

    data: Path | None
    split: str | None
    allow_seen: bool
    tta: str | None
    tolerance: float
    overrides: list[str]
    device: str
    precision: str
    batch_size: int

    def load(self, paths: list[Path], weights: list[str] | None = None) -> "Predictor":
        """The soft vote of runs."""
        from acdc_seg.inference.load import load_members

        return load_members(
            paths,
            overrides=self.overrides,
            tta=self.tta,
            weights=parse_weights(weights),
            device=self.device,
            precision=self.precision,
        )

    def open(self, predictor: "Predictor") -> "SplitImages":
        """Images of the predictor's split."""
        from acdc_seg.evaluation import open_split

        with progress_bar() as report:
            return open_split(predictor.config, self.data, self.split, report)

    def score(self, predictor: "Predictor", images: "SplitImages | None" = None) -> "Evaluation":
        """Scores on the predictor's split, or on images that are opened already."""
        from acdc_seg.evaluation import evaluate_images

        images = images or self.open(predictor)
        with progress_bar() as report:
            return evaluate_images(
                predictor,
                images,
                allow_seen=self.allow_seen,
                batch_size=self.batch_size,
                tolerance=self.tolerance,
                on_progress=report,
            )

    def folder(self, path: Path, split: str) -> Path:
        """Where scores of a run are by default: data and augmentations other than the run's own
        have folders of their own.
        """
        words = [split, self.data.resolve().name if self.data else "", self.tta or ""]
        return (path if path.is_dir() else path.parent) / "-".join(filter(None, words))


def print_comparison(
    paths: list[Path], versus: Path, evaluation: "Evaluation", folder: Path, request: Request
) -> None:
    """Scores the other run on the same images, and writes and prints the paired differences."""
    from acdc_seg.files import write_table, write_text
    from acdc_seg.inference.predictors import check_classes
    from acdc_seg.metrics.comparison import compare, format_comparison, patient_rows

    other = request.load([versus])
    check_classes(other.classes, evaluation.images.config.classes)
    other_evaluation = request.score(other, evaluation.images)
    comparison = compare(evaluation.score_set, other_evaluation.score_set)
    first, second = _names([paths[0], versus])
    first = first if len(paths) == 1 else "vote"
    stem = f"versus-{second}"
    content = {
        "first": evaluation.protocol,
        "second": other_evaluation.protocol,
        **comparison.to_dict(),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / f"{stem}.json", text + "\n")
    write_table(folder / f"{stem}.csv", patient_rows(comparison, first, second))
    console.print(f"\n{first} versus {second}", markup=False)
    console.print(format_comparison(comparison, first, second), markup=False)
    console.print(f"Wrote {shell_path(folder / stem)}.csv and {stem}.json", markup=False)


def write_ranking(paths: list[Path], table: Path, request: Request) -> None:
    """Scores every run alone on the images of the first, and writes the table of all."""
    from acdc_seg.evaluation.ranking import measure_model, rank_models
    from acdc_seg.inference.predictors import check_classes
    from acdc_seg.runtime.device import resolve_device

    models, images = [], None
    for path, name in zip(paths, _names(paths), strict=True):
        predictor = request.load([path])
        if images is None:
            images = request.open(predictor)
        check_classes(predictor.classes, images.config.classes)
        model = measure_model(name, predictor, partial(request.score, images=images))
        models.append(model)
        folder = request.folder(path, images.name)
        model.evaluation.write(folder)
        console.print(f"Wrote {shell_path(folder)}/metrics.json", markup=False)
    device = resolve_device(request.device).type
    ranking = rank_models(models, batch_size=request.batch_size, device=device)
    ranking.write(table)
    console.print(str(ranking), markup=False)
    console.print(f"Wrote {shell_path(table)}")


def _names(paths: list[Path]) -> list[str]:
    """Names of the runs' folders or of other files, or the paths where two have one name."""
    names = []
    for path in paths:
        is_run = path.is_dir() or path.name == "best.pt"
        names.append(
            (path if path.is_dir() else path.parent).resolve().name if is_run else path.stem
        )
    if len(set(names)) == len(names):
        return names
    return [path.as_posix().strip("./").replace("/", "-") for path in paths]
