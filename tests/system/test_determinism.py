"""Same seed, same bytes; and no randomness but what a seed decides."""

import ast
from pathlib import Path

import pytest

import acdc_seg

PACKAGE = Path(acdc_seg.__file__).parent
SEEDED = {
    "default_rng",
    "Random",
    "manual_seed",
    "Generator",
    "TPESampler",
    "RandomSampler",
    "CmaEsSampler",
}
"""What makes or seeds a generator, and so must be given a seed."""
PERMITTED = {("training/loop.py", "torch.manual_seed"), ("models/summary.py", "torch.randn")}
"""Global generators in use: dropout, seeded for each batch (initial weights follow Accelerate's
`set_seed`); images of a stopwatch.
"""
DRAWS = {
    "rand",
    "randn",
    "randint",
    "randperm",
    "normal",
    "multinomial",
    "bernoulli",
    "rand_like",
    "randn_like",
    "randint_like",
}


def dotted(node: ast.expr) -> str:
    """`np.random.rand` for such a chain of names, else ''."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def unseeded(source: str) -> list[str]:
    """Calls that draw from a generator of the whole process, or from one without a seed."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        module, _, last = name.rpartition(".")
        is_global = module in ("random", "np.random", "numpy.random") or (
            module == "torch" and last in {*DRAWS, "manual_seed", "seed"}
        )
        given = {keyword.arg for keyword in node.keywords}
        if last in SEEDED and last != "manual_seed":
            is_global = not (node.args or "seed" in given)
        if is_global and "generator" not in given:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "np.random.default_rng(3); random.Random(4); torch.randn(3, generator=g); "
            "rng.normal(); self.random.random()",
            [],
        ),
        ("np.random.rand(3)", ["np.random.rand"]),
        ("np.random.default_rng()", ["np.random.default_rng"]),
        ("random.random(); random.Random()", ["random.random", "random.Random"]),
        ("torch.randn(3); torch.manual_seed(1)", ["torch.randn", "torch.manual_seed"]),
        ("TPESampler(seed=1); RandomSampler(); CmaEsSampler(2)", ["RandomSampler"]),
    ],
)
def test_the_rule_finds_unseeded_draws(source, expected):
    assert unseeded(source) == expected


def test_nothing_draws_without_a_seed():
    files = [
        (path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    ]
    assert {(file, name) for file, source in files for name in unseeded(source)} == PERMITTED
    assert not [
        file
        for file, source in files
        if "from random import" in source or "from numpy.random import" in source
    ]
