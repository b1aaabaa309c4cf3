"""Command lines of the documents: found in their code blocks, and parsed without being run."""

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import typer
from commands import MAIN

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "data/README.md",
        ROOT / "acdc_seg/weights/README.md",
    ]
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")
STARTS = re.compile(r"(\$ )?(acdc-[a-z]+|torchrun|docker|sbatch|sh|bash|python|pip) ")


class CommandLine(NamedTuple):
    """Words of a command; one in the text of a page may be a part of one."""

    words: list[str]
    is_whole: bool

    def __str__(self) -> str:
        return shlex.join(self.words)


def code_lines(page: Path, language: str | None = None) -> Iterator[str]:
    """Lines of the code blocks of a page, those continued by a backslash joined."""
    for found, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in (None, found):
            yield from re.sub(r"\\\n\s*", " ", text).splitlines()


def split_words(line: str) -> list[str]:
    """The words of a command line, without its comment and the prompt before it."""
    return shlex.split(line.strip().removeprefix("$ "), comments=True)


def find_commands(page: Path) -> Iterator[CommandLine]:
    """Every command of ours, in blocks and in the text, behind other programs too."""
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    codes = [" ".join(code.split()) for code in CODE.findall(prose)]
    inline = [(code, False) for code in codes if re.match(r"acdc-[a-z]+ ", code)]
    blocks = [(line, True) for line in code_lines(page) if STARTS.match(line.strip())]
    for line, is_whole in blocks + inline:
        words = split_words(line.replace("$(which acdc-train)", "acdc-train"))
        starts = [index for index, word in enumerate(words) if word.startswith("acdc-")]
        if starts and not set(words) & {"...", "="}:
            yield CommandLine(words[starts[0] :], is_whole)


def app_of(name: str) -> typer.Typer:
    """The typer app of a command, `name` without acdc-."""
    app = inspect.getmodule(MAIN[name]).app
    assert isinstance(app, typer.Typer)
    return app


def option_names(line: CommandLine) -> set[str]:
    """The options that the command of a line takes, or its subcommand."""
    command = typer.main.get_command(app_of(line.words[0].removeprefix("acdc-")))
    if subcommands := getattr(command, "commands", {}):
        command = subcommands[line.words[1]]
    names = {"--help", "-h"}
    for parameter in command.params:
        names.update([*parameter.opts, *parameter.secondary_opts])
    return names
