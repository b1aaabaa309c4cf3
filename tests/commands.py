"""Runs the commands in this process, through their entry points."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

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

MAIN = {
    "train": train.main,
    "evaluate": evaluate.main,
    "ensemble": ensemble.main,
    "predict": predict.main,
    "submit": submit.main,
    "data": data.main,
    "tune": tune.main,
    "experiment": experiment.main,
    "models": models.main,
    "report": report.main,
    "export": export.main,
}


@dataclass(frozen=True)
class Outcome:
    """Exit code and both output streams of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def make_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function of a command's name and arguments that runs it."""

    def call(name: str, *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", [f"acdc-{name}", *map(str, arguments)])
        code = 0
        try:
            MAIN[name]()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        streams = capsys.readouterr()
        return Outcome(code, streams.out, streams.err)

    return call
