"""An installed wheel must find what a checkout finds: the package is unpacked elsewhere and used
from there.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = ("acdc_seg", "configs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        path = CHECKOUT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    options = [
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(out), str(source)],
        check=True,
    )
    (built,) = out.glob("acdc_seg-*.whl")
    return built


def test_wheel_holds_code_configs_and_report_template(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    code = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "acdc_seg").rglob("*.py")}
    configs = {
        f"acdc_seg/{path.relative_to(CHECKOUT)}" for path in (CHECKOUT / "configs").rglob("*.yaml")
    }
    assert {"acdc_seg/cli/train.py", "acdc_seg/models/backbones/drn.py"} <= code
    assert {"acdc_seg/configs/default.yaml", "acdc_seg/configs/unet.yaml"} <= configs
    templates = {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / "acdc_seg/report/templates").iterdir()
    }
    assert {Path(name).suffix for name in templates} == {".html", ".css", ".js", ".txt"}
    features = {f"acdc_seg/diagnosis/features.{suffix}" for suffix in ("csv", "md")}
    assert code | configs | templates | features <= held
    assert not any(name.startswith(("tests/", "data/", "runs/")) for name in held)


def test_unpacked_wheel_finds_its_recipes_and_commands(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        commands = archive.read(entry_points).decode()
    assert "acdc-train = acdc_seg.cli.train:main" in commands
    code = (
        "import acdc_seg, acdc_seg.config as c; print(acdc_seg.__file__); print(c.configs_dir());"
        "print(c.load_config(model='unet') == c.load_config(c.configs_dir() / 'unet.yaml'), "
        "c.load_config(model='unet') == c.load_config())"
    )
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    package = tmp_path / "site/acdc_seg"
    assert outcome.stdout.splitlines() == [
        str(package / "__init__.py"),
        str(package / "configs"),
        "True False",
    ]
