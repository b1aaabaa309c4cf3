"""acdc-ensemble"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from acdc_seg.cli.app import (
    BatchSize,
    Debug,
    Device,
    Version,
    console,
    errors,
    make_app,
    run,
    shell_path,
)
from acdc_seg.cli.progress import progress_bar

if TYPE_CHECKING:
    from acdc_seg.data.record import Record
    from acdc_seg.data.source import Progress
    from acdc_seg.ensembling.candidates import Unit
    from acdc_seg.ensembling.search import Choice, Estimate, Seen

app = make_app()


@app.command()
def ensemble(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Run folders; the fold runs of one recipe enter together.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data to choose on.",
            rich_help_panel="What",
            show_default="the validation images that most runs share",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split of --data to choose on: train, val or test.",
            rich_help_panel="What",
            show_default="val",
        ),
    ] = None,
    allow_seen: Annotated[
        bool,
        typer.Option(
            "--allow-seen",
            help="Keep runs that were trained on the images to choose on.",
            rich_help_panel="What",
        ),
    ] = False,
    tta: Annotated[
        list[str] | None,
        typer.Option(
            help="Test-time augmentations to choose from: none, flips, dihedral.",
            rich_help_panel="How",
            show_default="none flips dihedral",
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(min=1, help="Most members to take, counting repeats.", rich_help_panel="How"),
    ] = 25,
    largest: Annotated[
        bool,
        typer.Option(
            "--largest/--no-largest",
            help="Keep only the largest region of classes where that helps.",
            rich_help_panel="How",
        ),
    ] = True,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed of the resampled patients and of the patient folds.",
            rich_help_panel="How",
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of ensemble.yaml and ensemble.json.",
            rich_help_panel="Output",
            show_default="ensembles/ensemble, numbered when taken",
        ),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Choose an ensemble of trained runs, and measure what it gains over its best member."""
    from acdc_seg.ensembling.candidates import open_units
    from acdc_seg.ensembling.search import TTA_CHOICES, Settings, choose, write_ensemble
    from acdc_seg.errors import ConfigError, did_you_mean

    if unknown := [name for name in tta or () if name not in TTA_CHOICES]:
        raise ConfigError(
            f"--tta '{unknown[0]}' is unknown; {did_you_mean(unknown[0], TTA_CHOICES)}"
        )
    if split is not None and data is None:
        raise ConfigError(f"--split {split} has no effect without --data; give both or neither")
    settings = Settings(
        tuple(tta or TTA_CHOICES), rounds=rounds, largest=largest, allow_seen=allow_seen, seed=seed
    )
    with progress_bar() as report:
        units = open_units(runs, on_progress=report)
        records = None if data is None else _records(units, data, split or "val", report)
        choice = choose(
            units,
            records=records,
            settings=settings,
            device=device,
            batch_size=batch_size,
            on_progress=report,
        )
    for seen in choice.seen:
        _warn(seen, len(choice.records), kept=allow_seen)
    folder = out or _fresh_folder()
    write_ensemble(folder, choice)
    _show(choice)
    console.print(f"Wrote {shell_path(folder)}/ensemble.yaml and ensemble.json")
    console.print(
        f"Next: acdc-evaluate {shell_path(folder)} --split test, or acdc-submit --runs "
        f"{shell_path(folder)} --data DIR"
    )


def _records(units: "list[Unit]", data: Path, split: str, report: "Progress") -> "list[Record]":
    """The images of another data set to choose on."""
    from acdc_seg.config import with_overrides
    from acdc_seg.data.readers.paired import SPLITS
    from acdc_seg.data.source import open_source
    from acdc_seg.errors import ConfigError, did_you_mean

    if split not in SPLITS:
        raise ConfigError(f"--split '{split}' is unknown; {did_you_mean(split, SPLITS)}")
    config = with_overrides(
        units[0].runs[0].config,
        {
            "data.path": str(data.resolve()),
            "data.num_folds": None,
            "data.fold": None,
            "data.validation": True,
        },
    )
    source = open_source(config.data, prepare_settings=config.prepare, on_progress=report)
    if not source.split(split):
        there = ", ".join(name for name in SPLITS if source.split(name))
        raise ConfigError(
            f"{source.root}: there are no images in split '{split}'; choose from: {there}"
        )
    return source.split(split)


def _fresh_folder() -> Path:
    from acdc_seg.files import numbered

    folders = (Path("ensembles") / name for name in numbered("ensemble"))
    return next(folder for folder in folders if not folder.exists())


def _warn(seen: "Seen", num_images: int, *, kept: bool) -> None:
    outcome = (
        "kept as asked, but its score and the ensemble's are flattered"
        if kept
        else "left out; --allow-seen keeps it"
    )
    errors.print(
        f"[yellow]Warning:[/] {escape(seen.unit.name)} was trained on {len(seen.images)} of the "
        f"{num_images} images to choose on, "
        f"or on their patients (first {escape(seen.images[0])}): {outcome}"
    )


def _show(choice: "Choice") -> None:
    best = choice.candidates[choice.best.counts.index(1)]
    table = Table("member", "runs", "TTA", "Dice", "weight", box=None)
    for (unit, tta), dice, times in zip(
        choice.candidates, choice.dice, choice.selection.counts, strict=True
    ):
        weight = f"{times / sum(choice.selection.counts):.3f}" if times else ""
        table.add_row(escape(unit.name), str(len(unit.runs)), tta, f"{dice:.4f}", weight)
    console.print(table)
    patients = {record.patient for record in choice.records}
    console.print(f"Chosen on {len(choice.records)} images of {len(patients)} patients")
    console.print(
        f"Largest region kept: {', '.join(choice.selection.keep_largest) or 'of no class'}"
    )
    console.print(f"Best member: {escape(best[0].name)}, TTA {best[1]}")
    _show_estimate("On these images", choice.chosen_on)
    _show_estimate("On patients held out from the choice", choice.held_out)


def _show_estimate(where: str, estimate: "Estimate") -> None:
    console.print(
        f"{where}: ensemble {estimate.ensemble:.4f}, best member {estimate.best_member:.4f}, "
        f"difference {estimate.difference:+.4f} (95 % interval {estimate.low:+.4f} to "
        f"{estimate.high:+.4f})"
    )


def main() -> None:
    """Entry point of acdc-ensemble."""
    run(app, greedy=("--tta",))
