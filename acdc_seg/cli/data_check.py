"""acdc-data check, fix, show and info: what a data set holds and what is wrong with it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc_seg.cli.app import console, shell_path
from acdc_seg.cli.problems import (
    EXIT_CODES,
    command_line,
    count_of,
    print_problems,
    problem_dict,
)
from acdc_seg.cli.progress import progress_bar

if TYPE_CHECKING:
    from acdc_seg.config import Config
    from acdc_seg.data.check.run import Check

SAFE_OFFERS = ("channels", "mask_scaled", "mask_lossy")
"""Errors whose settings `fix` takes without being asked: no other reading is possible."""
DataPath = Annotated[Path, typer.Argument(help="Folder of the data.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.KEY=VALUE",
        help="Settings of data and classes, for example data.channels=3.",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes.", show_default="one for each processor")
]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json", help="Write JSON to this file; - is standard output.", show_default="none"
    ),
]


def check(
    path: DataPath,
    overrides: Overrides = None,
    json_file: JsonFile = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look at a sample, and search no duplicates.")
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="List every file.")] = False,
    jobs: Jobs = None,
) -> None:
    """List everything that is wrong with a data set.

    Exit code: 0 where nothing is, 1 with warnings only, 2 with errors, which stop a training.
    """
    found = run_check(path, overrides, quick=quick, jobs=jobs)
    is_silent = json_file is not None and str(json_file) == "-"
    if json_file is not None:
        _write_json(json_file, _report(found, overrides or []))
    if not is_silent:
        _print_check(found, path, overrides or [], quick=quick, show_all=show_all)
    raise typer.Exit(EXIT_CODES[found.severity()])


def fix(
    path: DataPath,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("data/fixed"),
    jobs: Jobs = None,
) -> None:
    """Write a copy without the files that have errors, and with masks that hold class numbers.

    Settings that the check offers are taken. The data itself is never changed.
    """
    from acdc_seg.data.check.fix import fix_data

    found, taken = check_with_offers(path, overrides or [], jobs=jobs)
    with progress_bar() as report:
        fixed = fix_data(found, out, on_progress=report)
    if taken:
        console.print(f"Read with {' '.join(taken)}", markup=False)
    if fixed.num_rewritten:
        masks = count_of(fixed.num_rewritten, "mask")
        console.print(f"Wrote {masks} anew with the numbers of their classes.")
    if fixed.left_out:
        console.print("\n[bold]Left out[/]")
        print_problems(fixed.left_out, found.root)
    if fixed.left_alone:
        console.print("\n[bold]Left as it is[/]")
        print_problems(fixed.left_alone, found.root)
    num_images = count_of(len(fixed.records), "image")
    console.print(f"\nWrote {shell_path(out)}: {num_images} of {len(found.records)}.")
    line = command_line("acdc-data check", out, settings_of_copy(found))
    console.print(f"Next: {line}", markup=False)


def info(path: DataPath, overrides: Overrides = None, json_file: JsonFile = None) -> None:
    """Say what a folder holds: images, patients, groups, sizes and the share of each class."""
    from acdc_seg.data.info import describe
    from acdc_seg.data.problems import raise_errors

    found = run_check(path, overrides, duplicates=False)
    if json_file is not None:
        _write_json(json_file, found.fingerprint)
    if str(json_file) != "-":
        for line in [*describe(found), *found.notes]:
            console.print(line, markup=False)
    raise_errors(found.problems)


def show(
    path: DataPath,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("sheet.png"),
    num: Annotated[int, typer.Option(min=1, help="Images to show.")] = 24,
    by: Annotated[str, typer.Option(help="problems (worst first) or class.")] = "problems",
    jobs: Jobs = None,
) -> None:
    """Draw a contact sheet: images with the outlines of their masks, those with problems first."""
    from acdc_seg.data.check.sheet import draw_sheet
    from acdc_seg.errors import ConfigError
    from acdc_seg.files import replacing

    if by not in ("problems", "class"):
        raise ConfigError(f"--by {by}: choose from: problems, class")
    found, taken = check_with_offers(path, overrides or [], jobs=jobs)
    if taken:
        console.print(f"Read with {' '.join(taken)}", markup=False)
    content = draw_sheet(found, num=num, by_class=by == "class")
    with replacing(out) as file:
        file.write(content)
    console.print(f"Wrote {shell_path(out)}.")


def run_check(
    path: Path,
    overrides: list[str] | None,
    *,
    quick: bool = False,
    duplicates: bool = True,
    jobs: int | None = None,
) -> "Check":
    """The check of a folder with settings, behind a progress bar."""
    from acdc_seg.data.check.run import check_data

    config = load_data_settings(path, overrides)
    with progress_bar() as report:
        return check_data(
            config.data,
            config.classes,
            quick=quick,
            duplicates=duplicates,
            num_jobs=jobs,
            on_progress=report,
        )


def check_with_offers(
    path: Path, overrides: list[str], *, jobs: int | None
) -> "tuple[Check, list[str]]":
    """The check with the settings that are offered for its errors, and these settings."""
    from acdc_seg.data.problems import suggested_settings

    found = run_check(path, overrides, jobs=jobs)
    errors = [problem for problem in found.problems if problem.code in SAFE_OFFERS]
    offered = [text for text in suggested_settings(errors) if text not in overrides]
    if offered:
        found = run_check(path, [*overrides, *offered], jobs=jobs)
    return found, offered


def settings_of_copy(found: "Check") -> list[str]:
    """The settings that read the copy that `fix` writes."""
    from acdc_seg.config import ClassesConfig

    settings, classes = [], found.classes
    if classes.names != ClassesConfig().names:
        settings.append(f"classes=[{','.join(classes.names)}]")
    if classes.void is not None:
        settings.append("classes.void=255")
    if not classes.has_background:
        settings.append("classes.has_background=false")
    if found.data.channels != 1:
        settings.append(f"data.channels={found.data.channels}")
    return settings


def load_data_settings(path: Path, overrides: list[str] | None) -> "Config":
    """Settings of the command line for the data at a path."""
    from acdc_seg.config import load_config

    return load_config(overrides=[*(overrides or []), f"data.path={json.dumps(str(path))}"])


def _print_check(
    found: "Check", path: Path, overrides: list[str], *, quick: bool, show_all: bool
) -> None:
    from acdc_seg.data.problems import suggested_settings

    for note in found.notes:
        console.print(note, markup=False)
    print_problems(found.problems, found.root, show_all=show_all)
    errors = [problem for problem in found.problems if problem.severity == "error"]
    num_warnings = len(found.problems) - len(errors)
    space = "\n" if found.problems else ""
    what = f"{found.reader.title}, {count_of(len(found.records), found.reader.kind[:-1])}"
    what += " looked at" if quick else ""
    counts = f"{count_of(len(errors), 'error')}, {count_of(num_warnings, 'warning')}"
    console.print(f"{space}{shell_path(path)}: {what}: {counts}")
    settings = [*overrides, *suggested_settings(errors)]
    if errors and len(settings) > len(overrides):
        console.print(f"Try: {command_line('acdc-data check', path, settings)}", markup=False)
    elif not errors:
        line = command_line("acdc-train --data", path, overrides)
        console.print(f"Next: {line}", markup=False)


def _report(found: "Check", overrides: list[str]) -> dict[str, Any]:
    """A check as plain types."""
    from acdc_seg.data.problems import suggested_settings

    errors = [problem for problem in found.problems if problem.severity == "error"]
    return {
        "path": str(found.root),
        "format": found.reader.title,
        "worst": found.severity() or None,
        "num_errors": len(errors),
        "num_warnings": len(found.problems) - len(errors),
        "settings": overrides,
        "suggested_settings": list(suggested_settings(errors)),
        "problems": [problem_dict(problem) for problem in found.problems],
        "notes": found.notes,
        "fingerprint": found.fingerprint,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from acdc_seg.files import write_text

    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if str(path) == "-":
        console.print(text, markup=False, end="")
    else:
        write_text(path, text)
