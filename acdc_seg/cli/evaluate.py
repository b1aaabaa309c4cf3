"""acdc-evaluate"""

from pathlib import Path
from typing import Annotated

import typer

from acdc_seg.cli.app import (
    BatchSize,
    Debug,
    Device,
    Precision,
    Version,
    console,
    make_app,
    run,
    shell_path,
)
from acdc_seg.cli.options import BARE, Members, Tta, Weights, load_members
from acdc_seg.cli.progress import progress_bar

app = make_app()


@app.command()
def evaluate(
    runs: Annotated[list[Path], Members],
    data: Annotated[
        Path | None,
        typer.Option(
            help="ACDC tree or paired folders.",
            rich_help_panel="What",
            show_default="the first run's data",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.", rich_help_panel="What")] = "val",
    tta: Tta = None,
    weights: Weights = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of metrics.csv and metrics.json.",
            rich_help_panel="Output",
            show_default="RUN/SPLIT",
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Score a run, or the soft vote of several, against true masks: Dice and IoU for every class
    and image.
    """
    from acdc_seg.config import with_overrides
    from acdc_seg.data.readers.paired import SPLITS
    from acdc_seg.data.source import open_source
    from acdc_seg.errors import ConfigError, did_you_mean
    from acdc_seg.evaluation import evaluate as evaluate_examples
    from acdc_seg.inference.stream import read_examples
    from acdc_seg.metrics.scores import format_table, summarize, write_csv, write_json

    if split not in SPLITS:
        raise ConfigError(f"--split '{split}' is unknown; {did_you_mean(split, SPLITS)}")
    if len(runs) > 1 and out is None:
        raise ConfigError("give --out FOLDER for the scores of an ensemble")
    predictor = load_members(runs, tta=tta, weights=weights, device=device, precision=precision)
    config = predictor.config
    if data is not None:
        config = with_overrides(
            config,
            {
                "data.path": str(data.resolve()),
                "data.num_folds": None,
                "data.fold": None,
                "data.validation": True,
            },
        )
    with progress_bar() as report:
        source = open_source(config.data, prepare_settings=config.prepare, on_progress=report)
        records = source.split(split)
        if not records:
            there = ", ".join(name for name in SPLITS if source.split(name))
            raise ConfigError(
                f"{source.root}: there are no images in split '{split}'; choose from: {there}"
            )
        rows = evaluate_examples(
            predictor,
            read_examples(records, predictor),
            batch_size=batch_size,
            on_image=lambda done: report("images", done, len(records)),
        )
    summary, folder = (
        summarize(rows),
        out or (runs[0] if runs[0].is_dir() else runs[0].parent) / split,
    )
    write_csv(folder / "metrics.csv", rows)
    write_json(folder / "metrics.json", rows, summary)
    console.print(
        f"{source.kind} data, split {split}: {len({record.patient for record in records})} patients"
    )
    console.print(format_table(summary), markup=False)
    console.print(f"Wrote {shell_path(folder)}/metrics.csv and metrics.json")


def main() -> None:
    """Entry point of acdc-evaluate."""
    run(app, greedy=("--weights",), implied=BARE)
