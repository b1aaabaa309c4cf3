"""What surrounds the package (citation, workflows, containers, cluster scripts) names commands and
files that exist, and its scripts do what their first lines say.
"""

import ast
import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from acdc_seg import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ON_SOME_SYSTEMS_ONLY = {"fcntl", "grp", "msvcrt", "pwd", "resource", "termios", "winreg"}


def read_yaml(name: str) -> dict:
    """A YAML file of the checkout."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def commands() -> set[str]:
    """The names of setup.cfg's commands."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = settings["options.entry_points"]["console_scripts"].split("\n")
    return {line.partition("=")[0].strip() for line in lines if line}


def named_commands(text: str) -> set[str]:
    """Words of a text that look like commands of ours."""
    return set(re.findall(r"(?<![\w/-])acdc-[a-z]+(?![\w/-])", text))


def test_the_citation_is_of_this_version():
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} < set(citation)
    assert citation["version"] == __version__
    (paper,) = citation["references"]
    assert paper["doi"] == "10.1109/TMI.2018.2837502"
    assert paper["doi"] in (ROOT / "data/README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_command(commands):
    assert commands - named_commands((ROOT / "README.md").read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "name",
    ["CONTRIBUTING.md", "SECURITY.md", "docs/deployment.md", "Dockerfile", "compose.yaml"]
    + [str(path.relative_to(ROOT)) for path in (*WORKFLOWS, *ROOT.glob("scripts/*/*"))],
)
def test_files_name_commands_that_exist(commands, name):
    assert named_commands((ROOT / name).read_text(encoding="utf-8")) - commands == set()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_few_rights_and_run_what_is_pinned(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        actions = [step["uses"] for step in job["steps"] if "uses" in step]
        assert [each for each in actions if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each)] == []


def test_workflows_run_scripts_that_exist():
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    scripts = set(re.findall(r"scripts/\w+\.sh", text))
    assert {"scripts/test.sh", "scripts/install_torch.sh"} <= scripts
    assert [name for name in scripts if not (ROOT / name).is_file()] == []


def test_the_workflow_tests_every_python_that_it_should():
    jobs = read_yaml(".github/workflows/tests.yml")["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_issue_forms_have_unique_fields():
    for name in ("bug", "feature"):
        form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
        ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(ids) == len(set(ids)) > 2


def test_the_image_gets_the_files_that_it_copies():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    sources = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
        if not word.startswith("--")
    ]
    assert {"acdc_seg", "configs", "constraints.txt"} <= set(sources)
    assert [name for name in sources if not (ROOT / name).exists()] == []
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    inside = [any(f"{name}/".startswith(f"{folder}/") for folder in kept) for name in sources]
    assert all(inside)


def test_the_image_does_not_run_as_root():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    final = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["1000"]


def test_compose_starts_two_equal_workers_on_its_database(commands):
    services = read_yaml("compose.yaml")["services"]
    workers = [service for service in services.values() if service.get("image") == "acdc_seg"]
    assert len(workers) == 2
    assert workers[0] == workers[1]
    command, *options = workers[0]["command"]
    assert command in commands
    database = services["db"]["environment"]
    address = f"postgresql://{database['POSTGRES_USER']}@db/{database['POSTGRES_DB']}"
    assert f"--storage={address}" in options
    assert workers[0]["environment"]["PGPASSWORD"] == database["POSTGRES_PASSWORD"]


def test_nothing_is_imported_at_the_top_that_some_systems_lack():
    found = []
    for path in (ROOT / "acdc_seg").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            modules = [alias.name for alias in getattr(node, "names", ())]
            modules += [getattr(node, "module", None) or ""]
            found += [path.name] if ON_SOME_SYSTEMS_ONLY & set(modules) else []
    assert found == []


@pytest.fixture
def sandbox(tmp_path):
    """Runs a script in an empty folder, where programs print their words instead of working.

    Args of the function: the script's path, its words, variables, and the programs with the lines
    that they run after printing.
    """

    def call(script: str, *words: str, programs: dict[str, str], **variables: str):
        (tmp_path / "bin").mkdir(exist_ok=True)
        for name, lines in programs.items():
            program = tmp_path / "bin" / name
            program.write_text(f'#!/bin/sh\necho "{name} $*"\n{lines}\n')
            program.chmod(0o755)
        return subprocess.run(
            ["bash" if script.endswith("sbatch") else "sh", str(ROOT / "scripts" / script), *words],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}/bin:{os.defpath}", **variables},
            capture_output=True,
            text=True,
        )

    return call


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["acdc-train", "--model", "u net"], "acdc-train --model u net\n"),
        (["train", "--resume", "x"], "acdc-train --resume x\n"),
        (["torchrun", "x"], "torchrun x\n"),
    ],
)
def test_the_entry_point_runs_commands(sandbox, words, printed):
    programs = {"acdc-train": "exit 7", "torchrun": "exit 7"}
    outcome = sandbox("container/entrypoint.sh", *words, programs=programs)
    assert (outcome.stdout, outcome.returncode) == (printed, 7)


def test_the_entry_point_lists_the_commands(sandbox):
    programs = {"acdc-train": "", "acdc-tune": ""}
    outcome = sandbox("container/entrypoint.sh", "tran", programs=programs)
    assert (outcome.stdout, outcome.returncode) == ("", 2)
    assert outcome.stderr.split("are:")[1].split() == ["acdc-train", "acdc-tune"]


@pytest.mark.parametrize(("code", "healthy"), [(0, True), (1, True), (2, False), (127, False)])
def test_a_container_is_healthy_while_its_data_have_no_errors(sandbox, tmp_path, code, healthy):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.png").touch()
    programs = {"acdc-data": f"exit {code}", "acdc-models": "exit 0"}
    outcome = sandbox("container/healthcheck.sh", programs=programs, ACDC_DATA="data")
    assert outcome.stdout == "acdc-data check data --quick --jobs 1\n"
    assert (outcome.returncode == 0) == healthy


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("data", ["", "empty", "missing"])
def test_a_container_without_data_must_build_a_network(sandbox, tmp_path, data, code):
    (tmp_path / "empty").mkdir()
    programs = {"acdc-data": "exit 0", "acdc-models": f"exit {code}"}
    outcome = sandbox("container/healthcheck.sh", programs=programs, ACDC_DATA=data)
    assert (outcome.stdout, outcome.returncode) == ("", code)


def end_as(status: str) -> str:
    """What a training leaves that ended so, as lines of a shell script."""
    code = {"finished": 0, "stopped": 130, "failed": 2}[status]
    return f"""mkdir -p runs/a\necho '{{"status": "{status}"}}' > runs/a/run.json\nexit {code}"""


@pytest.mark.parametrize("script", ["train", "train_torchrun"])
@pytest.mark.parametrize("status", ["finished", "stopped", "failed"])
@pytest.mark.parametrize("resumes", [False, True])
def test_a_slurm_training_is_queued_again_until_it_is_finished(
    sandbox, tmp_path, script, status, resumes
):
    if resumes:
        (tmp_path / "runs/a").mkdir(parents=True)
        (tmp_path / "runs/a/last.pt").touch()
    outcome = sandbox(
        f"slurm/{script}.sbatch",
        *("a", "--model", "unet"),
        programs={"srun": end_as(status), "scontrol": "", "acdc-train": ""},
        **{"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2"},
    )
    first, *rest = outcome.stdout.splitlines()
    options = "--resume runs/a" if resumes else "--name a --model unet"
    assert first.startswith("srun ")
    assert first.endswith(f"acdc-train {options}")
    assert rest == (["scontrol requeue 12"] if status == "stopped" else [])
    assert outcome.returncode == {"finished": 0, "stopped": 130, "failed": 2}[status]


@pytest.mark.parametrize(("variables", "shard"), [({}, "3/20"), ({"SHARDS": "40"}, "3/40")])
def test_a_slurm_array_predicts_in_parts(sandbox, variables, shard):
    variables = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MAX": "20", **variables}
    words = ("exams", "--out", "results")
    outcome = sandbox("slurm/predict.sbatch", *words, programs={"srun": ""}, **variables)
    assert outcome.stdout == f"srun acdc-predict exams --out results --shard {shard}\n"


def test_a_slurm_array_tunes_with_a_worker_for_each_gpu(sandbox):
    words = ("--model", "unet")
    outcome = sandbox("slurm/tune.sbatch", *words, programs={"srun": ""}, SLURM_GPUS_ON_NODE="2")
    assert outcome.stdout == "srun acdc-tune --workers 2 --model unet\n"
