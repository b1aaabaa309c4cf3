"""Imports point down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import acdc_seg

LAYERS = (
    ("errors", "labels"),
    ("config", "files"),
    ("runtime",),
    ("data", "models", "losses", "optim", "metrics"),
    ("runs",),
    ("inference",),
    ("evaluation", "submission", "export", "diagnosis"),
    ("report",),
    ("training", "ensembling", "prediction"),
    ("tuning",),
    ("experiments",),
    ("cli",),
)
"""Modules and folders of the package from the bottom up; those of a layer are independent."""

PACKAGE = Path(acdc_seg.__file__).parent
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported_modules(source: str) -> list[str]:
    """Parts of our package that a file imports anywhere, also in functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = [name.split(".")[1] for name in names if name.startswith("acdc_seg.")]
    return [name for name in ours if name in LEVEL]


def upward_imports(path: Path, source: str) -> list[str]:
    """Imports of a file that do not point to a lower layer."""
    own = path.parts[0].removesuffix(".py")
    level = len(LAYERS) if own == "__init__" else LEVEL.get(own)
    assert level is not None, f"{path}: give this module a layer in {Path(__file__).name}"
    return [name for name in imported_modules(source) if name != own and LEVEL[name] >= level]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down(path):
    assert upward_imports(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "from acdc_seg.config import Config\nfrom acdc_seg import __version__\nimport "
            "acdc_seg.errors",
            [],
        ),
        ("from acdc_seg.training.loop import train", ["training"]),
        ("import acdc_seg.training.loop as t", ["training"]),
        ("from acdc_seg import training", ["training"]),
        ("def f():\n    from acdc_seg.cli.app import run", ["cli"]),
        ("if TYPE_CHECKING:\n    from acdc_seg.training.finish import finish_run", ["training"]),
        ("from acdc_seg.inference.predictors import TTA", []),
        ("from acdc_seg.submission.table import read_rows", ["submission"]),
    ],
)
def test_upward_and_sideways_imports_are_found(source, expected):
    assert upward_imports(Path("evaluation.py"), source) == expected


def test_package_and_config_load_no_heavy_library():
    heavy = ("torch", "monai", "numpy", "cv2", "accelerate", "albumentations")
    code = f"import sys, acdc_seg.config; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
