"""One self-contained HTML page about a run, for readers who never see the code."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import yaml
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from acdc_seg.files import write_text
from acdc_seg.report.figures import best_epoch, curves, hex_color, mean_over_classes, score_boxplot

DISCLAIMER = "For research only; not a medical device."
NUM_WORST = 10


def write_report(
    path: Path,
    *,
    title: str,
    config: Mapping[str, Any],
    run: Mapping[str, Any],
    protocol: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any] | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> None:
    """Writes the page; everything it shows is inside the file.

    Args:
        path: The file to write.
        title: Heading of the page.
        config: The whole config as plain dicts and lists, `classes.labels` with names and colors
            among them.
        run: Content of run.json; nested dicts such as the versions become a table each.
        protocol: Source of the data and how it was split, as label and text in the order to show.
        history: One dict per epoch: `epoch`, `lr`, `train_loss`, `val_loss`, `dice`,
            `dice_<class>`, `seconds`.
        scores: Content of metrics.json; the first of its `metrics` is the headline.
        figures: More figures by caption, overlays of single cases for example.

    Raises:
        DataError: The file cannot be written.
    """
    by_name = {label["name"]: tuple(label["color"]) for label in config["classes"]["labels"]}
    shown = {"Training": curves(history, colors=by_name)} if history else {}
    images = scores["images"] if scores else []
    headline = next(iter(scores["metrics"])) if scores else ""
    if scores:
        label = scores["metrics"][headline]
        shown["Scores by class"] = score_boxplot(images, headline, label=label, colors=by_name)
    shown |= figures or {}
    page = _template().render(
        title=title,
        disclaimer=DISCLAIMER,
        colors={name: hex_color(color) for name, color in by_name.items()},
        protocol=protocol,
        scores={"pooled": {}, "num_void": 0, **scores} if scores else None,
        has_background=config["classes"].get("has_background", True),
        headline=headline,
        worst=_worst_cases(images, headline),
        num_patients=len({image["patient"] for image in images if image["patient"]}),
        best=best_epoch(history),
        num_epochs=len(history),
        figures={caption: _data_uri(figure) for caption, figure in shown.items()},
        run=_tables(run),
        config=yaml.safe_dump(
            dict(config), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
        ),
    )
    write_text(path, page)


def _template() -> Any:
    text = files("acdc_seg.report").joinpath("templates", "page.html").read_text(encoding="utf-8")
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)


def _worst_cases(images: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    cases = [{**image, "mean": mean_over_classes(image, metric)} for image in images]
    return sorted(cases, key=lambda case: case["mean"])[:NUM_WORST]


def _tables(run: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Nested dicts under their own heading, all other values under `run`."""
    nested = {key: value for key, value in run.items() if isinstance(value, Mapping)}
    return {"run": {key: run[key] for key in run if key not in nested}, **nested}


def _data_uri(figure: Figure) -> str:
    """PNG where the figure shows pictures, else SVG; equal figures give equal bytes."""
    kind, mime, metadata = "svg", "image/svg+xml", {"Date": None}
    if any(axes.images for axes in figure.axes):
        kind, mime, metadata = "png", "image/png", {"Software": None}
    data = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "acdc_seg"}):
        figure.savefig(data, format=kind, metadata=metadata, dpi=150)
    return f"data:{mime};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
