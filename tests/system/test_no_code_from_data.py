"""Nothing that is read is executed: every source file is parsed and its calls are looked
through.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("acdc_seg", "scripts") for path in (ROOT / folder).rglob("*.py")
)
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "np.loads",
    "joblib.load",
    "torch.package",
}
PICKLES = ("pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal")
YAML_LOADERS = ("load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all")
UNSAFE_LOADERS = ("Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader")
NEEDED = {"torch.load": ("weights_only", True), "torch.hub.load": ("trust_repo", "never")}
REFUSED = {"allow_pickle": True, "shell": True, "weights_only": False}


def faults(source: str) -> list[str]:
    """What a file calls or imports that could run what it reads, each with its line."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            found += [
                f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in PICKLES
            ]
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node).startswith("yaml.")
            and node.attr in (*YAML_LOADERS, *UNSAFE_LOADERS)
        ):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("yaml"):
            found += [
                f"{node.lineno}: {alias.name}"
                for alias in node.names
                if alias.name in (*YAML_LOADERS, *UNSAFE_LOADERS)
            ]
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {fault}" for fault in call_faults(node)]
    return found


def call_faults(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    keywords = {
        each.arg: each.value.value if isinstance(each.value, ast.Constant) else None
        for each in call.keywords
    }
    found = [name] if name in FORBIDDEN else []
    found += [
        f"{key}={value}"
        for key, value in REFUSED.items()
        if key in keywords and keywords[key] in (value, None)
    ]
    if name in NEEDED and keywords.get(NEEDED[name][0]) != NEEDED[name][1]:
        found.append(f"{name} without {NEEDED[name][0]}={NEEDED[name][1]}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_runs_what_it_reads(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.unsafe_load(text)",
        "yaml.compose(text, Loader=yaml.FullLoader)",
        "from yaml import full_load",
        "eval('1')",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "import os, marshal",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "torch.hub.load('owner/repository', 'model')",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_the_rule_finds_what_runs_data(source):
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "yaml.safe_load(text)",
        "yaml.compose(text, Loader=yaml.SafeLoader)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "subprocess.run(['ls'], check=True)",
        "network.eval()",
        "re.compile('a')",
    ],
)
def test_the_rule_leaves_the_rest(source):
    assert faults(source) == []
