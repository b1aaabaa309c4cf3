"""acdc-report"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from acdc_seg.cli.app import Debug, Version, console, errors, make_app, run, shell_path
from acdc_seg.cli.options import BatchSize, Device
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import option
from acdc_seg.errors import AcdcError, ConfigError, did_you_mean

if TYPE_CHECKING:
    from acdc_seg.report.evidence import Evidence
    from acdc_seg.report.reported import ReportedRun

app = make_app()

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Finished runs, or folders that acdc-evaluate wrote, of runs or of ensembles.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    option("File of the page.", "Output", "RUN/report.html; comparison.html for several"),
]
Viewer = Annotated[
    str, option("own, or niivue: volumes of one run too, turned and cut in any plane.", "Output")
]
NiivueFile = Annotated[
    Path | None,
    typer.Option(
        "--niivue",
        envvar="ACDC_NIIVUE",
        help="File niivue.umd.js of the npm package @niivue/niivue, for --viewer niivue.",
        rich_help_panel="Output",
        show_default="niivue.umd.js in the current folder",
    ),
]
VIEWERS = ("own", "niivue")


@app.command(epilog="Example: acdc-report runs/unet runs/deeplab_drn ensembles/ensemble/val")
def report(
    runs: Runs,
    out: Out = None,
    viewer: Viewer = "own",
    niivue: NiivueFile = None,
    device: Device = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Write the page of one run again, or one page that compares several on the same images."""
    if len({path.resolve() for path in runs}) < len(runs):
        raise ConfigError("a run is given twice; give each once")
    bundle = _read_niivue(viewer, niivue, len(runs))

    from acdc_seg.report.comparison import write_comparison
    from acdc_seg.report.paired import compare, rank, verdict
    from acdc_seg.report.reported import open_reported

    opened = [open_reported(path) for path in runs]
    ranked = rank(opened) if len(opened) > 1 else opened
    evidence, notes = _collect(ranked, device, batch_size)
    if len(ranked) == 1:
        path = _write_one(ranked[0], out, evidence.get(ranked[0].folder), " ".join(notes), bundle)
    else:
        path = out or Path("comparison.html")
        write_comparison(path, ranked, evidence=evidence, notes=notes)
        best, *others = [each.scores for each in ranked]
        differences = {each.name: compare(best, each) for each in others}
        console.print(escape(verdict(best, others, differences)))
    console.print(f"Wrote {shell_path(path)}")


def _read_niivue(viewer: str, path: Path | None, num_runs: int) -> str:
    """The script of NiiVue as text; empty for our own viewer alone."""
    if viewer not in VIEWERS:
        raise ConfigError(f"--viewer {viewer}: {did_you_mean(viewer, VIEWERS)}")
    if viewer == "own":
        return ""
    if num_runs > 1:
        raise ConfigError(f"--viewer niivue shows one run, {num_runs} are given; give one")
    from acdc_seg.report.niivue import read_bundle

    return read_bundle(path)


def _collect(
    runs: "list[ReportedRun]", device: str, batch_size: int
) -> "tuple[dict[Path, Evidence], list[str]]":
    """Pictures by folder, and why others are missing."""
    from acdc_seg.report.reported import collect_evidence

    evidence, notes = {}, []
    with progress_bar() as show:
        for each in runs:
            try:
                evidence[each.folder] = collect_evidence(
                    each, device=device, batch_size=batch_size, on_progress=show
                )
            except AcdcError as error:
                notes.append(f"No pictures of {each.scores.name}: {error}")
    for note in notes:
        errors.print(f"[bold yellow]Warning:[/] {escape(note)}")
    return evidence, notes


def _write_one(
    reported: "ReportedRun",
    out: Path | None,
    evidence: "Evidence | None",
    no_pictures: str,
    niivue: str,
) -> Path:
    from acdc_seg.report.run_page import write_run_page

    path = out or reported.folder / "report.html"
    if reported.config is None:
        raise ConfigError(
            f"{reported.folder}: the run that was scored is gone, and its settings with it; "
            "compare its scores with those of another run"
        )
    write_run_page(
        reported.folder,
        reported.config,
        path=path,
        name=reported.scores.name,
        run=reported.run,
        history=reported.history,
        content=reported.scores.content,
        evidence=evidence,
        no_pictures=no_pictures,
        niivue=niivue,
    )
    return path


def main() -> None:
    """Entry point of acdc-report."""
    run(app)
