"""Imports point down only: the house's floors, walked file by file."""

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
    ("data", "models", "losses", "optim", "metrics", "report"),
    ("runs",),
    ("inference",),
    ("evaluation", "submission", "export"),
    ("training", "ensembling"),
    ("tuning", "experiments"),
    ("cli",),
)
"""Modules and folders of the package from the ground up; those of one layer do not know each other.
"""

PACKAGE = Path(acdc_seg.__file__).parent
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported_modules(source: str) -> list[str]:
    """Parts of our package that a file imports anywhere: at the top, in functions, under
    TYPE_CHECKING. '' is the package itself.
    """
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = [name.split(".")[1] for name in names if name.startswith("acdc_seg.")]
    return ["" if name.startswith("__") else name for name in ours]


def faults(path: Path, source: str) -> list[str]:
    """What a file imports against the rule."""
    own = path.parts[0].removesuffix(".py")
    if own.startswith("__"):
        return [name for name in imported_modules(source) if name]
    assert own in LEVEL, f"{path}: give this module a layer in {Path(__file__).name}"
    return [
        name
        for name in imported_modules(source)
        if name and name != own and LEVEL[name] >= LEVEL[own]
    ]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down(path):
    assert faults(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


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
        ("if TYPE_CHECKING:\n    from acdc_seg.training.finish import conclude", ["training"]),
        ("from acdc_seg.inference.predictors import TTA", []),
        ("from acdc_seg.submission.table import read_submission", ["submission"]),
    ],
)
def test_the_rule_finds_what_points_up_or_sideways(source, expected):
    assert faults(Path("evaluation.py"), source) == expected


def test_relative_imports_are_refused():
    with pytest.raises(AssertionError, match="line 1: a relative import"):
        faults(Path("data/images.py"), "from . import records")


def test_config_is_read_without_the_heavy_libraries():
    code = (
        "import sys, acdc_seg.config; print([name for name in ('torch', 'monai', 'numpy', "
        "'cv2', 'accelerate') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
