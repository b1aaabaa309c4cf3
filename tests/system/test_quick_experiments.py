"""Every shipped experiment runs to its page, one after another by one script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acdc_seg.config.experiment import read_experiment, shipped_experiments

SCRIPT = Path(__file__).parents[2] / "scripts/experiments.sh"


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_all_experiments_quickly(tmp_path):
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("train", "experiment"):
        code = f"from acdc_seg.cli.{name} import main; main()"
        command = commands / f"acdc-{name}"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
        command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(SCRIPT.parents[1]),
    }
    done = subprocess.run(["bash", SCRIPT], cwd=tmp_path, env=environment)
    assert done.returncode == 0
    for name, path in shipped_experiments().items():
        folder = tmp_path / "experiments" / f"{name}-quick"
        figures = {figure.stem for figure in (folder / "figures").glob("*.png")}
        assert figures == set(read_experiment(path).figures), name
        assert (folder / "report.html").is_file()
        table = (folder / "table.csv").read_text().splitlines()
        assert len(table) >= 3, name
