"""acdc-models"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc_seg.cli.app import Debug, Device, Version, console, make_app, run
from acdc_seg.cli.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from acdc_seg.config import Section
    from acdc_seg.models.base import SegmentationModel
    from acdc_seg.models.summary import LayerSummary, ModelSummary, Speed

app = make_app()


@dataclass(frozen=True)
class Shape:
    """What networks are built for and judged with: images `(in_channels, size, size)`."""

    size: int
    in_channels: int
    num_classes: int


@dataclass(frozen=True)
class Entry:
    """One network: what it is, its cost, and its speed where it was measured."""

    name: str
    architecture: str
    options: dict[str, Any]
    summary: "ModelSummary"
    speed: "Speed | None"


@app.command()
def models(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Network to take apart; without it all are listed.", show_default=False
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL.OPTION=VALUE",
            help="Its options, for example model.depth=4.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(min=32, help="Height and width of the image.", rich_help_panel="What")
    ] = 96,
    in_channels: Annotated[
        int, typer.Option(min=1, help="Channels of the image.", rich_help_panel="What")
    ] = 1,
    num_classes: Annotated[
        int, typer.Option(min=1, help="Classes, the background among them.", rich_help_panel="What")
    ] = 4,
    depth: Annotated[
        int,
        typer.Option(
            min=1,
            help="Levels of nesting that the layers of one network are shown to.",
            rich_help_panel="What",
        ),
    ] = 2,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables.", rich_help_panel="What")
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Time training and prediction too.", rich_help_panel="Computing"
        ),
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images in a timed batch.", rich_help_panel="Computing")
    ] = 8,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(
            rich_help_panel="Computing", help="auto, fp32, bf16 or fp16; auto as in training."
        ),
    ] = "auto",
    debug: Debug = False,
    version: Version = False,
) -> None:
    """List the networks with their size and cost, or take one apart layer by layer."""
    from acdc_seg.models import MODELS
    from acdc_seg.models.summary import summarize_layers, summarize_model

    sections = [_section(name, overrides or []) for name in ([model] if model else MODELS)]
    shape, timing = (
        Shape(size, in_channels, num_classes),
        Timing(batch_size, device, precision) if measure else None,
    )
    entries: list[Entry] = []
    with progress_bar() as report:
        for section in sections:
            report("networks", len(entries), len(sections))
            summary = summarize_model(_without_weights(section, shape), size=size)
            entries.append(
                _entry(section, summary, timing.measure(section, shape) if timing else None)
            )
    rows = (
        summarize_layers(_without_weights(sections[0], shape), size=size, depth=depth)
        if model
        else []
    )
    if as_json:
        console.print(_json(entries, rows, shape, timing), markup=False)
    elif model:
        _print_layers(rows, entries[0], shape, timing)
        console.print(
            " ".join(["Next: acdc-train --model", model, *(overrides or [])]), markup=False
        )
    else:
        _print_entries(entries, shape, timing)
        console.print("Next: acdc-models unet for its layers, or acdc-train --model unet")


class Timing:
    """How networks are timed, with device and precision resolved."""

    def __init__(self, batch_size: int, device: str, precision: str) -> None:
        from acdc_seg.runtime.device import resolve_device, resolve_precision

        self.batch_size, self.device = batch_size, resolve_device(device)
        self.precision = resolve_precision(precision, self.device)

    def __str__(self) -> str:
        return f"batches of {self.batch_size} in {self.precision} on {self.device.type}"

    def measure(self, section: "Section", shape: Shape) -> "Speed":
        from acdc_seg.models import build_model
        from acdc_seg.models.summary import measure_speed
        from acdc_seg.runtime.device import DTYPES

        model = build_model(section, shape.in_channels, shape.num_classes)
        return measure_speed(
            model,
            size=shape.size,
            batch_size=self.batch_size,
            device=self.device,
            dtype=DTYPES[self.precision],
        )


def _section(name: str, overrides: Sequence[str]) -> "Section":
    """The options that `acdc-train --model NAME OVERRIDES` gives the network."""
    from acdc_seg.config import load_config
    from acdc_seg.errors import ConfigError

    for text in overrides:
        if not text.startswith("model.") or text.startswith("model.name="):
            raise ConfigError(
                f"'{text}' is no option of {name}: write model.option=value, for example "
                "model.dropout=0.2"
            )
    return load_config(model=name, overrides=overrides).model


def _without_weights(section: "Section", shape: Shape) -> "SegmentationModel":
    """The network with parameters that take no memory."""
    from accelerate import init_empty_weights

    from acdc_seg.models import build_model

    with init_empty_weights():
        return build_model(section, shape.in_channels, shape.num_classes)


def _entry(section: "Section", summary: "ModelSummary", speed: "Speed | None") -> Entry:
    options = section.model_dump(mode="json")
    architecture = (section.__doc__ or "").partition("\n")[0].removesuffix(".")
    return Entry(options.pop("name"), architecture, options, summary, speed)


def _json(
    entries: Sequence[Entry], rows: "Sequence[LayerSummary]", shape: Shape, timing: Timing | None
) -> str:
    tree: dict[str, Any] = asdict(shape)
    if timing:
        tree |= {
            "batch_size": timing.batch_size,
            "device": str(timing.device),
            "precision": timing.precision,
        }
    tree["models"] = [
        {
            "name": entry.name,
            "architecture": entry.architecture,
            "options": entry.options,
            **asdict(entry.summary),
        }
        | ({"images_per_second": asdict(entry.speed)} if entry.speed else {})
        | ({"layers": [asdict(row) for row in rows]} if rows else {})
        for entry in entries
    ]
    return json.dumps(tree, indent=2)


def _print_entries(entries: Sequence[Entry], shape: Shape, timing: Timing | None) -> None:
    table = _table(
        "network",
        "architecture",
        numbers=["parameters", "GFLOP", "stride", *(["train", "predict"] if timing else [])],
    )
    for entry in entries:
        speeds = [f"{speed:.1f}" for speed in asdict(entry.speed).values()] if entry.speed else []
        table.add_row(
            entry.name,
            entry.architecture,
            *_cost(entry.summary),
            str(entry.summary.output_stride),
            *speeds,
        )
    console.print(table, soft_wrap=False)
    console.print(
        "Options are those of each network's recipe, else the defaults. stride: how much coarser "
        "the encoder's smallest map is."
    )
    console.print(_about_flop(shape))
    if timing:
        console.print(f"train, predict: images per second, {timing}.")


def _print_layers(
    rows: "Sequence[LayerSummary]", entry: Entry, shape: Shape, timing: Timing | None
) -> None:
    console.print(
        f"[bold]{entry.name}[/]: {entry.architecture}, output stride {entry.summary.output_stride}"
    )
    options = ", ".join(f"{name}={json.dumps(value)}" for name, value in entry.options.items())
    console.print(f"Options: {options or 'none'}", markup=False)
    table = _table("layer", "output (C x H x W)", numbers=["parameters", "GFLOP"])
    for row in rows:
        table.add_row(
            row.name, "\n".join(" x ".join(map(str, output)) for output in row.shapes), *_cost(row)
        )
    table.add_section()
    table.add_row("total", "", *_cost(entry.summary))
    console.print(table, soft_wrap=False)
    console.print(_about_flop(shape))
    if entry.speed:
        console.print(
            f"{entry.speed.train:.1f} images per second in training, {entry.speed.predict:.1f} in "
            f"prediction, {timing}."
        )


def _table(*texts: str, numbers: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table(*texts, header_style="bold")
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _cost(part: "ModelSummary | LayerSummary") -> tuple[str, str]:
    return f"{part.num_parameters:,}", f"{part.flop / 1e9:.3f}"


def _about_flop(shape: Shape) -> str:
    image = f"{shape.in_channels} x {shape.size} x {shape.size} image"
    return (
        f"GFLOP: the forward pass of one {image} to {shape.num_classes} classes; a "
        "multiply-add is 2 FLOP."
    )


def main() -> None:
    """Entry point of acdc-models."""
    run(app)
