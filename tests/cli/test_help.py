import os
import re
import subprocess
import sys

import pytest
import typer

from acdc_seg import __version__
from acdc_seg.cli import (
    data,
    ensemble,
    evaluate,
    experiment,
    export,
    models,
    predict,
    report,
    submit,
    train,
    tune,
)
from acdc_seg.config import LossConfig, OptimizerConfig, TrainConfig, default_yaml

APPS = {
    "train": train.app,
    "evaluate": evaluate.app,
    "ensemble": ensemble.app,
    "predict": predict.app,
    "submit": submit.app,
    "data": data.app,
    "tune": tune.app,
    "experiment": experiment.app,
    "models": models.app,
    "report": report.app,
    "export": export.app,
}
PANELS = {
    "train": ["What", "How", "Computing", "Other"],
    "evaluate": ["What", "Output", "Computing", "Other"],
    "predict": ["What", "Output", "Computing", "Other"],
    "submit": ["What", "Output", "Computing", "Other"],
    "ensemble": ["What", "How", "Output", "Computing", "Other"],
    "tune": ["What", "How", "Computing", "Output", "Other"],
    "experiment": ["What", "Computing", "Output", "Other"],
    "models": ["What", "Computing", "Other"],
    "report": ["Output", "Computing", "Other"],
    "export": ["What", "Output", "Other"],
    "data": ["Other", "Commands"],
    "data synthesize": ["Arguments", "Options", "Hearts", "Streets and pets"],
    "data prepare": ["Arguments", "Geometry", "What", "Split"],
    "data check": ["Arguments", "Options"],
    "data fix": ["Arguments", "Options"],
    "data show": ["Arguments", "Options"],
    "data info": ["Arguments", "Options"],
}
HEAVY = (
    "torch",
    "monai",
    "albumentations",
    "cv2",
    "matplotlib",
    "numpy",
    "nibabel",
    "sklearn",
    "accelerate",
)


def click_command(words: str):
    """The command's own description of its options."""
    name, *rest = words.split()
    found = typer.main.get_command(APPS[name])
    return found.commands[rest[0]] if rest else found


def help_of(command, words: str) -> str:
    outcome = command(*words.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


@pytest.mark.parametrize("words", PANELS)
def test_every_option_with_its_default_in_its_panel(command, words):
    text = help_of(command, words)
    boxes = re.split(r"╭─ ", text)[1:]
    titles = [box.split(" ─")[0] for box in boxes]
    assert [title for title in titles if title in PANELS[words]] == PANELS[words]
    lines = [" ".join(line.strip("│ ").split()) for line in text.splitlines()]
    described = click_command(words)
    assert " ".join(described.help.split("\n\n")[0].split()) in " ".join(lines)
    options = [
        each
        for each in described.params
        if each.param_type_name == "option" and each.name != "help"
    ]
    for option in options:
        (line,) = [line for line in lines if line.startswith(f"{option.opts[0]} ")]
        assert option.help in line
        if not option.is_flag:
            default = (
                option.show_default if isinstance(option.show_default, str) else option.default
            )
            assert (
                f"[default: {f'({default})' if isinstance(option.show_default, str) else default}]"
                in line
            )


@pytest.mark.parametrize(
    ("option", "section", "field"),
    [
        ("--loss", LossConfig, "name"),
        ("--optimizer", OptimizerConfig, "name"),
        ("--precision", TrainConfig, "precision"),
        ("--device", TrainConfig, "device"),
    ],
)
def test_choices_in_the_help_are_those_of_the_config(command, option, section, field):
    (line,) = [line for line in help_of(command, "train").splitlines() if option in line]
    listed = re.search(r"(?:>|TEXT)\s+([\w, ]+)\. ", line)
    assert listed is not None
    assert set(listed[1].split(", ")) == set(section.model_fields[field].annotation.__args__)


def test_models_in_the_help_exist(command):
    from acdc_seg.config import MODEL_SECTIONS

    line = next(line for line in help_of(command, "train").splitlines() if "--model" in line)
    examples = re.search(r"for example ([\w, ]+);", line)
    assert examples is not None
    assert set(examples[1].split(", ")) < set(MODEL_SECTIONS)


@pytest.mark.parametrize("name", APPS)
def test_short_help_and_version(command, name):
    assert command(name, "-h").out == command(name, "--help").out
    assert command(name, "--version").out == f"acdc_seg {__version__}\n"


def test_importing_the_commands_loads_nothing_heavy():
    modules = ", ".join(f"acdc_seg.cli.{name}" for name in APPS)
    code = f"import sys; import {modules}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    ).stdout.split()
    assert [name for name in HEAVY if name in loaded] == []


def test_all_settings_are_printed(command):
    outcome = command("train", "--settings")
    assert (outcome.code, outcome.out, outcome.err) == (0, default_yaml(), "")


@pytest.mark.parametrize(
    "words", [words for words in PANELS if words not in ("submit", "data", "tune")]
)
def test_every_command_has_an_example(command, words):
    assert f"acdc-{words} " in click_command(words).epilog
