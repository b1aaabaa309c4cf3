"""acdc-models"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc_seg.cli.app import Debug, Version, console, make_app, run
from acdc_seg.cli.options import Device
from acdc_seg.cli.progress import progress_bar
from acdc_seg.config import setting_choices

if TYPE_CHECKING:
    from rich.table import Table

    from acdc_seg.config import Section
    from acdc_seg.models.base import SegmentationModel
    from acdc_seg.models.summary import LayerSummary, ModelSummary, Speed


def _option(help: str, *names: str, panel: str = "What", **limits: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **limits)


Model = Annotated[
    str | None, typer.Argument(help="Network to show layer by layer; without it all are listed.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL.OPTION=VALUE", help="Options of the network, for example model.depth=4."
    ),
]
Size = Annotated[int, _option("Height and width of the image.", min=32)]
InChannels = Annotated[int, _option("Channels of the image.", min=1)]
NumClasses = Annotated[int, _option("Classes, with the background.", min=2)]
Depth = Annotated[int, _option("Levels of nested layers to show.", min=1)]
AsJson = Annotated[bool, _option("Print JSON instead of tables.", "--json")]
Measure = Annotated[bool, _option("Time training and prediction.", "--measure", panel="Computing")]
TimedBatch = Annotated[int, _option("Images in a timed batch.", panel="Computing", min=1)]
PRECISIONS = ", ".join(setting_choices("train.precision"))
TimedPrecision = Annotated[str, _option(f"{PRECISIONS}; auto as in training.", panel="Computing")]

app = make_app()


@dataclass(frozen=True)
class Task:
    """Images `(in_channels, size, size)` to segment into classes."""

    size: int
    in_channels: int
    num_classes: int


@dataclass(frozen=True)
class ModelEntry:
    """A network's description, cost, and speed if it was measured."""

    name: str
    architecture: str
    options: dict[str, Any]
    summary: "ModelSummary"
    speed: "Speed | None"


@app.command(epilog="Example: acdc-models deeplab_drn --size 128 --measure")
def models(
    model: Model = None,
    overrides: Overrides = None,
    size: Size = 96,
    in_channels: InChannels = 1,
    num_classes: NumClasses = 4,
    depth: Depth = 2,
    as_json: AsJson = False,
    measure: Measure = False,
    batch_size: TimedBatch = 8,
    device: Device = "auto",
    precision: TimedPrecision = "auto",
    debug: Debug = False,
    version: Version = False,
) -> None:
    """List the networks with their size and cost, or show one layer by layer."""
    from acdc_seg.models import MODELS
    from acdc_seg.models.summary import summarize_layers

    sections = [_section(name, overrides or []) for name in ([model] if model else MODELS)]
    task = Task(size, in_channels, num_classes)
    timing = Timing(batch_size, device, precision) if measure else None
    entries: list[ModelEntry] = []
    with progress_bar() as report:
        for section in sections:
            report("networks", len(entries), len(sections))
            entries.append(_entry(section, task, timing))
    layers: list[LayerSummary] = []
    if model:
        layers = summarize_layers(_without_weights(sections[0], task), size=size, depth=depth)
    if as_json:
        console.print(_json(entries, layers, task, timing), markup=False)
    elif model:
        _print_layers(layers, entries[0], task, timing)
        command = " ".join(["acdc-train --model", model, *(overrides or [])])
        console.print(f"Next: {command}", markup=False)
    else:
        _print_entries(entries, task, timing)
        console.print("Next: acdc-models unet for its layers, or acdc-train --model unet")


class Timing:
    """Batch, device and precision of timed networks."""

    def __init__(self, batch_size: int, device: str, precision: str) -> None:
        from acdc_seg.runtime.device import resolve_device, resolve_precision

        self.batch_size, self.device = batch_size, resolve_device(device)
        self.precision = resolve_precision(precision, self.device)

    def __str__(self) -> str:
        return f"batches of {self.batch_size} in {self.precision} on {self.device.type}"

    def measure(self, section: "Section", task: Task) -> "Speed":
        """Speed of a fresh network of these options."""
        from acdc_seg.models import build_model
        from acdc_seg.models.summary import measure_speed
        from acdc_seg.runtime.device import DTYPES

        model = build_model(section, task.in_channels, task.num_classes)
        dtype = DTYPES[self.precision]
        return measure_speed(
            model, size=task.size, batch_size=self.batch_size, device=self.device, dtype=dtype
        )


def _section(name: str, overrides: Sequence[str]) -> "Section":
    """The options that `acdc-train --model NAME OVERRIDES` gives the network."""
    from acdc_seg.config import load_config
    from acdc_seg.errors import ConfigError

    for override in overrides:
        if not override.startswith("model.") or override.startswith("model.name="):
            raise ConfigError(
                f"'{override}' is not an option of {name}: expected model.option=value, for "
                "example model.dropout=0.2"
            )
    return load_config(model=name, overrides=overrides).model


def _without_weights(section: "Section", task: Task) -> "SegmentationModel":
    """The network with parameters that take no memory."""
    from accelerate import init_empty_weights

    from acdc_seg.models import build_model

    with init_empty_weights():
        return build_model(section, task.in_channels, task.num_classes)


def _entry(section: "Section", task: Task, timing: Timing | None) -> ModelEntry:
    from acdc_seg.models.summary import summarize_model

    options = section.model_dump(mode="json")
    architecture = (section.__doc__ or "").partition("\n")[0].removesuffix(".")
    summary = summarize_model(_without_weights(section, task), size=task.size)
    speed = timing.measure(section, task) if timing else None
    return ModelEntry(options.pop("name"), architecture, options, summary, speed)


def _json(
    entries: Sequence[ModelEntry], layers: "list[LayerSummary]", task: Task, timing: Timing | None
) -> str:
    content: dict[str, Any] = asdict(task) | {"models": []}
    for entry in entries:
        model = asdict(entry)
        speed = model.pop("speed")
        model |= model.pop("summary")
        if speed:
            model["images_per_second"] = speed
        if layers:
            model["layers"] = [asdict(layer) for layer in layers]
        content["models"].append(model)
    if timing:
        content["batch_size"] = timing.batch_size
        content |= {"device": str(timing.device), "precision": timing.precision}
    return json.dumps(content, indent=2)


def _print_entries(entries: Sequence[ModelEntry], task: Task, timing: Timing | None) -> None:
    """Prints a table of 80 columns: papers are left out, and the architecture beside speeds."""
    texts = ["network"] if timing else ["network", "architecture"]
    speeds = ["train", "predict"] if timing else []
    table = _table(*texts, numbers=["parameters", "GFLOP", "stride", *speeds])
    for entry in entries:
        summary = entry.summary
        architecture = re.sub(r" \(.*?\)", "", entry.architecture)
        row = [entry.name] if timing else [entry.name, architecture]
        row += [f"{summary.num_parameters:,}", f"{summary.flop / 1e9:.2f}"]
        row.append(str(summary.output_stride))
        if entry.speed:
            row += [f"{entry.speed.train:.1f}", f"{entry.speed.predict:.1f}"]
        table.add_row(*row)
    console.print(table, soft_wrap=False)
    console.print(
        "Options are those of each network's recipe, else the defaults. stride: image size by that "
        "of the encoder's smallest map."
    )
    console.print(_about_flop(task))
    if timing:
        console.print(f"train, predict: images per second, {timing}.")


def _print_layers(
    layers: "Sequence[LayerSummary]", entry: ModelEntry, task: Task, timing: Timing | None
) -> None:
    summary, speed = entry.summary, entry.speed
    console.print(
        f"[bold]{entry.name}[/]: {entry.architecture}, output stride {summary.output_stride}"
    )
    options = ", ".join(f"{name}={json.dumps(value)}" for name, value in entry.options.items())
    console.print(f"Options: {options or 'none'}", markup=False)
    table = _table("layer", "output (C x H x W)", numbers=["parameters", "GFLOP"])
    for layer in layers:
        shapes = [" x ".join(map(str, shape)) for shape in layer.shapes]
        table.add_row(layer.name, "\n".join(shapes), *_cost(layer))
    table.add_section()
    table.add_row("total", "", *_cost(summary))
    console.print(table, soft_wrap=False)
    console.print(_about_flop(task))
    if speed:
        console.print(
            f"{speed.train:.1f} images per second in training, {speed.predict:.1f} in prediction, "
            f"{timing}."
        )


def _table(*texts: str, numbers: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table(*texts, header_style="bold")
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _cost(part: "ModelSummary | LayerSummary") -> tuple[str, str]:
    return f"{part.num_parameters:,}", f"{part.flop / 1e9:.3f}"


def _about_flop(task: Task) -> str:
    return (
        f"GFLOP: the forward pass of one {task.in_channels} x {task.size} x {task.size} image to "
        f"{task.num_classes} classes; a multiply-add is 2 FLOP."
    )


def main() -> None:
    """Entry point of acdc-models."""
    run(app)
