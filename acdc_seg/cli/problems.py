"""Prints the problems of a data set, equal kinds together."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from acdc_seg.cli.app import console

if TYPE_CHECKING:
    from acdc_seg.data.problems import Problem

MAX_FILES = 3
"""Files of one kind of problem that are named, unless all are asked for."""
COLORS = {"error": "red", "warning": "yellow"}
EXIT_CODES = {"": 0, "warning": 1, "error": 2}


def count_of(number: int, noun: str) -> str:
    """A number with its noun: 1 patient, 2 patients."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def print_problems(problems: "Sequence[Problem]", root: Path, *, show_all: bool = False) -> None:
    """A block for every kind of problem: how many, an example, the first files and the remedy."""
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.severity, problem.code), []).append(problem)
    for (severity, code), members in kinds.items():
        color, num_files = COLORS[severity], len({problem.path for problem in members})
        count = f": {count_of(num_files, 'file')}" if members[0].path != root else ""
        console.print(f"\n[bold {color}]{severity}[/] [bold]{code}[/]{count}")
        for line in _lines(members, root, show_all=show_all):
            console.print(f"  {escape(line)}")
        for fix in dict.fromkeys(problem.fix for problem in members if problem.fix):
            console.print(f"  [dim]remedy:[/] {escape(fix)}")


def _lines(problems: "Sequence[Problem]", root: Path, *, show_all: bool) -> list[str]:
    """Files and texts; files of one text share a line unless all are shown."""
    by_text: dict[str, list[str]] = {}
    for problem in problems:
        is_below = problem.path != root and problem.path.is_relative_to(root)
        path = problem.path.relative_to(root) if is_below else problem.path
        by_text.setdefault(problem.text, []).append("" if path == root else str(path))
    lines: list[str] = []
    for text, paths in by_text.items():
        if not show_all and len(lines) == MAX_FILES:
            lines.append(f"... and {len(by_text) - MAX_FILES} more (--all lists them)")
            break
        shown = [path for path in (paths if show_all else paths[:MAX_FILES]) if path]
        more = len(paths) - len(shown) if shown else 0
        where = ", ".join(shown) + (f" and {more} more" if more else "")
        lines.append(f"{where}: {text}" if where else text)
    return lines


def command_line(command: str, path: Path, settings: Sequence[str]) -> str:
    """A command with settings, ready to be pasted into a shell."""
    return " ".join([command, *map(shlex.quote, [str(path), *settings])])


def problem_dict(problem: "Problem") -> dict[str, Any]:
    """A problem as plain types."""
    return {**problem._asdict(), "path": str(problem.path), "settings": list(problem.settings)}
