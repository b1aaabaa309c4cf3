"""acdc-ensemble"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from acdc_seg.cli.app import Debug, Version, console, errors, make_app, run, shell_path
from acdc_seg.cli.options import BatchSize, Device, split_words
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import option
from acdc_seg.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from acdc_seg.ensembling.search import Estimate, Leak, SearchResult

app = make_app()

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN... [SECTION.KEY=VALUE...]",
        help="Run folders; the fold runs of one recipe enter together. Settings of data and "
        "classes say how --data is read.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    option("Data to choose on.", "What", "the validation images that most runs share"),
]
Split = Annotated[
    str | None,
    option(
        "Split of --data to choose on: train, val or test.",
        "What",
        "val, or all images of data that is not divided",
    ),
]
AllowSeen = Annotated[
    bool,
    typer.Option(
        "--allow-seen",
        help="Keep runs that were trained on the images to choose on.",
        rich_help_panel="What",
    ),
]
Tta = Annotated[
    list[str] | None,
    option(
        "Test-time augmentations to choose from: none, flips, dihedral.",
        "How",
        "none flips dihedral",
    ),
]
Rounds = Annotated[
    int,
    typer.Option(min=1, help="Most members to take, counting repeats.", rich_help_panel="How"),
]
Largest = Annotated[
    bool,
    typer.Option(
        "--largest/--no-largest",
        help="Keep only the largest region of classes where that helps.",
        rich_help_panel="How",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        help="Seed of the resampled patients and of the patient folds.",
        rich_help_panel="How",
    ),
]
Out = Annotated[
    Path | None,
    option(
        "Folder of ensemble.yaml, ensemble.json and report.html.",
        "Output",
        "ensembles/ensemble, numbered when taken",
    ),
]


@app.command(epilog="Example: acdc-ensemble runs/unet-fold* --name vote")
def ensemble(
    runs: Runs,
    data: Data = None,
    split: Split = None,
    allow_seen: AllowSeen = False,
    tta: Tta = None,
    rounds: Rounds = 25,
    largest: Largest = True,
    seed: Seed = 0,
    out: Out = None,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Choose an ensemble of trained runs, and measure what it gains over its best member."""
    from acdc_seg.ensembling.candidates import open_candidates
    from acdc_seg.ensembling.results import write_ensemble
    from acdc_seg.ensembling.search import TTA_CHOICES, SearchSettings, search_ensemble
    from acdc_seg.evaluation import open_split
    from acdc_seg.inference.load import with_reading

    paths, overrides = split_words(runs)
    for name in tta or ():
        if name not in TTA_CHOICES:
            raise ConfigError(f"--tta '{name}' is unknown; {did_you_mean(name, TTA_CHOICES)}")
    if split is not None and data is None:
        raise ConfigError(f"--split {split} has no effect without --data; give both or neither")
    if overrides and data is None:
        raise ConfigError(f"{overrides[0]} has no effect without --data; leave it out")
    settings = SearchSettings(tuple(tta or TTA_CHOICES), rounds, largest, allow_seen, seed)
    with progress_bar() as report:
        candidates = open_candidates(paths, on_progress=report)
        config, records = candidates[0].runs[0].config, None
        if data is not None:
            config = with_reading(config, overrides)
            records = open_split(config, data, split, report).records
        result = search_ensemble(
            candidates,
            records=records,
            classes=config.classes,
            settings=settings,
            device=device,
            batch_size=batch_size,
            on_progress=report,
        )
    for leak in result.leaks:
        _warn(leak, len(result.records), kept=allow_seen)
    folder = out or _new_folder()
    write_ensemble(folder, result)
    _show(result)
    place = shell_path(folder)
    console.print(f"Wrote {place}/ensemble.yaml, ensemble.json and report.html")
    first = candidates[0].runs[0]
    evaluation = f"acdc-evaluate {place} --split test, or " if first.has_test_masks else ""
    console.print(f"Next: {evaluation}acdc-submit --runs {place} --data DIR")


def _new_folder() -> Path:
    from acdc_seg.files import numbered

    folders = (Path("ensembles") / name for name in numbered("ensemble"))
    return next(folder for folder in folders if not folder.exists())


def _warn(leak: "Leak", num_images: int, *, kept: bool) -> None:
    consequence = (
        "kept as asked, but its score and the ensemble's are too high"
        if kept
        else "left out; --allow-seen keeps it"
    )
    errors.print(
        f"[yellow]Warning:[/] data leakage: {escape(leak.candidate.name)} was trained on "
        f"{len(leak.images)} of the {num_images} images to choose on, or on their patients (first "
        f"{escape(leak.images[0])}): {consequence}"
    )


def _show(result: "SearchResult") -> None:
    total = sum(variant.count for variant in result.variants)
    table = Table("member", "runs", "TTA", "Dice", "weight", box=None)
    for variant in result.variants:
        weight = f"{variant.count / total:.3f}" if variant.count else ""
        name, num_runs = escape(variant.candidate.name), str(len(variant.candidate.runs))
        table.add_row(name, num_runs, variant.tta, f"{variant.dice:.4f}", weight)
    console.print(table)
    patients = {record.patient for record in result.records}
    best = result.best_member
    console.print(f"Chosen on {len(result.records)} images of {len(patients)} patients")
    console.print(f"Largest region kept: {', '.join(result.keep_largest) or 'of no class'}")
    console.print(f"Best member: {escape(best.candidate.name)}, TTA {best.tta}")
    _show_estimate("On these images", result.chosen_on)
    _show_estimate("On patients held out from the choice", result.held_out)


def _show_estimate(where: str, estimate: "Estimate") -> None:
    console.print(
        f"{where}: ensemble {estimate.ensemble:.4f}, best member {estimate.best_member:.4f}, "
        f"difference {estimate.difference:+.4f} (95 % interval {estimate.low:+.4f} to "
        f"{estimate.high:+.4f})"
    )


def main() -> None:
    """Entry point of acdc-ensemble."""
    run(app, greedy=("--tta",))
