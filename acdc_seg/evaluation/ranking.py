"""One table of many models on the same images, best first, with what each costs."""

import html
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from acdc_seg.data.images import image_shape
from acdc_seg.errors import ConfigError
from acdc_seg.evaluation.result import Evaluation
from acdc_seg.files import write_table, write_text
from acdc_seg.inference.postprocess import KeepLargest
from acdc_seg.inference.predictors import TTA, TTA_VIEWS, Ensemble, ModelPredictor, Predictor
from acdc_seg.metrics import EMPTY_POLICY, METRICS
from acdc_seg.metrics.comparison import Difference, compare
from acdc_seg.metrics.levels import HEADLINE, distance_note
from acdc_seg.metrics.tables import align, count, number, signed, with_interval
from acdc_seg.models.summary import summarize_model

TABLE_SUFFIXES = (".csv", ".md", ".html")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }}
body {{ margin: 2rem; }} div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .8rem; border-bottom: 1px solid #8886; text-align: right; }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
td {{ white-space: nowrap; }} tbody tr:first-child {{ font-weight: 600; }}
</style></head><body><h1>{title}</h1><div><table><thead>{head}</thead>
<tbody>{body}</tbody></table></div><p>{note}</p></body></html>
"""


class TimedPredictor(Predictor):
    """Times the batches of a predictor; the first one warms up and is left out where others follow.

    Args:
        predictor: A model, an ensemble or what is done to either.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.config, self.classes = predictor.config, predictor.classes
        self.channels, self.origins = predictor.channels, predictor.origins
        self.batches: list[tuple[int, float]] = []  # images, seconds

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        """The predictor's, in CPU memory."""
        start = time.perf_counter()
        probabilities = self.predictor.predict_batch(images).cpu()
        self.batches.append((len(images), time.perf_counter() - start))
        return probabilities

    def describe(self) -> dict[str, Any]:
        """The predictor's."""
        return self.predictor.describe()

    @property
    def images_per_second(self) -> float:
        """Images by seconds of prediction, without reading and scoring."""
        batches = self.batches[1:] or self.batches
        return sum(size for size, _ in batches) / sum(seconds for _, seconds in batches)


@dataclass(frozen=True)
class RankedModel:
    """A model's scores and cost; `flop` is of one image, with all members and views."""

    name: str
    network: str
    evaluation: Evaluation
    num_parameters: int
    flop: int
    images_per_second: float


@dataclass(frozen=True)
class Ranking:
    """Models on the same images, best first.

    Attributes:
        models: At least one.
        differences: Each model's headline minus the best one's.
        measured: Where and how the speed was measured.
    """

    models: list[RankedModel]
    differences: list[Difference]
    measured: str

    @property
    def note(self) -> str:
        """What the numbers are means of, and the policy of empty classes."""
        top = self.models[0].evaluation
        summary = top.headline
        return (
            f"Means over {count(summary.n, top.level)} of {count(summary.num_patients, 'patient')} "
            f"and the foreground classes, split {top.images.name} of {top.protocol['data']}"
            f"{', with 95 % intervals over patients' if summary.num_patients > 1 else ''}; "
            "difference: from the first row, paired. "
            f"{EMPTY_POLICY} {distance_note(top.score_set)} {self.measured}"
        )

    def header(self) -> list[str]:
        """Titles of `rows`."""
        summary = self.models[0].evaluation.headline
        labels = [METRICS[name].label(summary.units) for name in summary.mean]
        costs = ["missed", "false", "parameters", "GFLOP", "images/s"]
        return ["model", "network", labels[0], "difference", *labels[1:], *costs]

    def rows(self) -> list[list[str]]:
        """Cells for readers, a row per model."""
        return [
            _row(model, difference)
            for model, difference in zip(self.models, self.differences, strict=True)
        ]

    def records(self) -> list[dict[str, Any]]:
        """Numbers for programs, a dict per model."""
        return [
            _record(model, difference)
            for model, difference in zip(self.models, self.differences, strict=True)
        ]

    def __str__(self) -> str:
        turned = [list(column) for column in zip(self.header(), *self.rows(), strict=True)]
        return f"{align(turned)}\n{self.note}"

    def write(self, path: Path) -> None:
        """Writes the table as CSV, Markdown or HTML, by the file's ending.

        Raises:
            ConfigError: Another ending.
            DataError: The file cannot be written.
        """
        check_suffix(path)
        if path.suffix == ".csv":
            records = self.records()
            write_table(path, [list(records[0]), *(record.values() for record in records)])
        elif path.suffix == ".md":
            lines = [self.header(), ["---"] * len(self.header()), *self.rows()]
            table = "\n".join(f"| {' | '.join(_escape(cells))} |" for cells in lines)
            write_text(path, f"{table}\n\n{self.note}\n")
        else:
            write_text(path, self._page())

    def _page(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        title = f"{METRICS[HEADLINE].title} by {self.models[0].evaluation.level}"
        body = "\n".join(line(cells, "td") for cells in self.rows())
        head, note = line(self.header(), "th"), html.escape(self.note)
        return PAGE.format(title=title, head=head, body=body, note=note)


def check_suffix(path: Path) -> None:
    """Raises ConfigError where a table cannot be written in a file of this ending."""
    if path.suffix not in TABLE_SUFFIXES:
        raise ConfigError(f"{path}: a table is written as {', '.join(TABLE_SUFFIXES)}; rename it")


def measure_model(
    name: str, predictor: Predictor, score: Callable[[Predictor], Evaluation]
) -> RankedModel:
    """Scores a model, and measures its cost meanwhile.

    Args:
        name: Of the model, in the table.
        predictor: The model.
        score: Scores what predicts like it, for example with `evaluate`.
    """
    timed = TimedPredictor(predictor)
    evaluation = score(timed)
    first = evaluation.images.records[0]
    size = max(image_shape(first.image, first.page))
    num_parameters, flop = _cost(predictor, size)
    networks = dict.fromkeys(model.config.model.name for model in _models(predictor))
    return RankedModel(
        name, "+".join(networks), evaluation, num_parameters, flop, timed.images_per_second
    )


def rank_models(models: Sequence[RankedModel], *, batch_size: int, device: str) -> Ranking:
    """The models by their headline, the best first.

    Args:
        models: All scored on the same images.
        batch_size: Of their predictions, for the note.
        device: Where they predicted, for the note.
    """
    sign = 1 if METRICS[HEADLINE].higher_is_better else -1
    ranked = sorted(models, key=lambda model: -sign * model.evaluation.headline.mean[HEADLINE])
    best = ranked[0].evaluation.score_set
    differences = [compare(model.evaluation.score_set, best).metrics[HEADLINE] for model in ranked]
    measured = (
        "GFLOP is of one image at the network's size, a multiply-add being 2 FLOP; images/s is "
        f"prediction alone, in batches of {batch_size} on {device}, with all members and views."
    )
    return Ranking(ranked, differences, measured)


def _models(predictor: Predictor) -> list[ModelPredictor]:
    """The networks of a predictor."""
    if isinstance(predictor, ModelPredictor):
        return [predictor]
    if isinstance(predictor, Ensemble):
        return [model for member in predictor.members for model in _models(member)]
    return _models(predictor.predictor) if isinstance(predictor, TTA | KeepLargest) else []


def _cost(predictor: Predictor, size: int) -> tuple[int, int]:
    """Parameters, and FLOP of one image of this size with all members and views."""
    if isinstance(predictor, ModelPredictor):
        side = max(predictor.config.data.size or (size, size))
        summary = summarize_model(predictor.model, size=side)
        return summary.num_parameters, summary.flop
    if isinstance(predictor, Ensemble):
        costs = [_cost(member, size) for member in predictor.members]
        return sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)
    if isinstance(predictor, TTA):
        num_parameters, flop = _cost(predictor.predictor, size)
        return num_parameters, flop * len(TTA_VIEWS[predictor.views])
    return _cost(predictor.predictor, size) if isinstance(predictor, KeepLargest) else (0, 0)


def _errors(model: RankedModel) -> tuple[int, int]:
    """Missed and false structures."""
    classes = model.evaluation.headline.classes.values()
    return sum(row["num_missed"] for row in classes), sum(row["num_false"] for row in classes)


def _row(model: RankedModel, difference: Difference) -> list[str]:
    summary = model.evaluation.headline
    first, *others = summary.mean
    change = with_interval(difference.difference, difference.interval, first, show=signed)
    return [
        model.name,
        model.network,
        with_interval(summary.mean[first], summary.intervals[first], first),
        change if difference.difference else "best",
        *(number(summary.mean[name], name) for name in others),
        *map(str, _errors(model)),
        f"{model.num_parameters:,}",
        f"{model.flop / 1e9:.2f}",
        f"{model.images_per_second:.1f}",
    ]


def _record(model: RankedModel, difference: Difference) -> dict[str, Any]:
    summary = model.evaluation.headline
    record: dict[str, Any] = {
        "model": model.name,
        "network": model.network,
        "level": model.evaluation.level,
        "n": summary.n,
        "num_patients": summary.num_patients,
    }
    for name, value in summary.mean.items():
        low, high = summary.intervals[name] or (None, None)
        record |= {name: value, f"{name}_low": low, f"{name}_high": high}
    low, high = difference.interval or (None, None)
    num_missed, num_false = _errors(model)
    return record | {
        f"{HEADLINE}_difference": difference.difference,
        f"{HEADLINE}_difference_low": low,
        f"{HEADLINE}_difference_high": high,
        "num_missed": num_missed,
        "num_false": num_false,
        "num_parameters": model.num_parameters,
        "gflop": model.flop / 1e9,
        "images_per_second": model.images_per_second,
    }


def _escape(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]
