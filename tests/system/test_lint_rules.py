"""Our lint rules refuse code that executes what it reads, or that draws without a seed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTS = """import os
import random
import subprocess

import numpy as np
import torch
import yaml

"""
REFUSED = (
    "yaml.load(text, Loader=yaml.Loader)",
    "yaml.full_load(text)",
    "yaml.unsafe_load(text)",
    "yaml.compose(text, Loader=yaml.FullLoader)",
    "eval(text)",
    "exec(text)",
    "import pickle",
    "from pickle import loads",
    "import marshal",
    "torch.load(path, weights_only=False)",
    "torch.hub.load('owner/repository', 'model')",
    "np.load(path, allow_pickle=True)",
    "os.system(text)",
    "subprocess.run(text, shell=True)",
    "np.random.rand(3)",
    "np.random.seed(3)",
    "random.random()",
    "random.shuffle(rows)",
    "torch.randn(3)",
    "torch.manual_seed(1)",
    "from torch import randn",
    "from . import labels",
)
ACCEPTED = (
    "yaml.safe_load(text)",
    "yaml.compose(text, Loader=yaml.SafeLoader)",
    "subprocess.run(['ls'], check=True)",
    "network.eval()",
    "np.random.default_rng(3).normal()",
    "random.Random(4).random()",
)
OPTIONS = ("--no-cache", "--output-format=json", "--stdin-filename=acdc_seg/data/example.py")
RULES = ("S", "NPY", "TID")


@pytest.fixture(scope="module")
def refused_lines() -> set[int]:
    """Numbers of the lines that ruff refuses with our settings in a file of the package."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *OPTIONS, "-"],
        input=IMPORTS + "\n".join([*REFUSED, *ACCEPTED]) + "\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return {
        finding["location"]["row"]
        for finding in json.loads(done.stdout)
        if finding["code"].startswith(RULES)
    }


@pytest.mark.parametrize("line", [*REFUSED, *ACCEPTED])
def test_lint_rules(refused_lines, line):
    number = IMPORTS.count("\n") + 1 + [*REFUSED, *ACCEPTED].index(line)
    assert (number in refused_lines) == (line in REFUSED)
