"""The examples of docs/adding.md work: applied to a copy of the package, their commands run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/adding.md"
TINY = "--batch-size 2 --device cpu train.log_images_interval=0"


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def apply_diff(root: Path, diff: str) -> None:
    """Replaces the lines of a diff without its additions by those without its removals."""
    header, *lines = diff.splitlines(keepends=True)
    path = root / header.removeprefix("--- ").strip()
    old = "".join(line[1:] for line in lines if line[0] != "+")
    new = "".join(line[1:] for line in lines if line[0] != "-")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has these lines {text.count(old)} times:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def project(tmp_path, hearts, write_png) -> Path:
    """A copy of the package with all examples applied, and a folder of the new data format."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("acdc_seg", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    for code in code_blocks("python"):
        path = tmp_path / code.partition("\n")[0].removeprefix("# ")
        path.write_text(code, encoding="utf-8")
    for text in code_blocks("yaml"):
        name = text.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(text, encoding="utf-8")
    for diff in code_blocks("diff"):
        apply_diff(tmp_path, diff)
    for number, (image, mask) in enumerate(hearts):
        write_png(tmp_path / f"data/flat/patient00{number}.png", image)
        cv2.imwrite(str(tmp_path / f"data/flat/patient00{number}_seg.png"), mask)
    return tmp_path


def run(project: Path, line: str) -> str:
    """Output of a command line in the copy; its commands are called by their entry points."""
    name, *arguments = shlex.split(line, comments=True)
    start = [sys.executable]
    if name.startswith("acdc-"):
        module = name.removeprefix("acdc-")
        start += ["-c", f"from acdc_seg.cli.{module} import main; main()"]
    done = subprocess.run(
        [*start, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_work(project):
    defaults, experiment, all_together = code_blocks("bash")
    text = run(project, defaults.partition(" >")[0])
    (project / "configs/default.yaml").write_text(text, encoding="utf-8")
    assert "squared_error" in text
    assert "auto, table, acdc, nifti, side_by_side, paired, flat" in text

    list_patients, train, evaluate = all_together.splitlines()
    assert run(project, list_patients).split() == [f"patient00{number}" for number in range(8)]
    trained = run(project, f"{train} {TINY}")
    assert "tiny_net has no recipe: training with the defaults." in trained
    assert "tiny_net on flat" in trained
    assert "Specificity" in run(project, evaluate)
    columns = (project / "runs/tiny/val/metrics.csv").read_text().partition("\n")[0].split(",")
    assert {"dice_lv", "specificity_rv", "specificity_myo", "specificity_lv"} <= set(columns)
    compared = run(project, f"{experiment.strip()} --device cpu --seeds 1 train.epochs=1")
    assert "3 variants, 3 trainings" in compared
    assert (project / "experiments/my_rates/figures/axis.png").is_file()
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=project)
    assert done.returncode == 0
