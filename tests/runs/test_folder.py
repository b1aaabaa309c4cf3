import json
import subprocess

import pytest

from acdc_seg import __version__
from acdc_seg.config import Config, load_config
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.runs.folder import Run, create_run, environment


@pytest.fixture
def config(tmp_path):
    return Config(runs_dir=str(tmp_path / "deep" / "runs"))


def test_unnamed_runs_are_numbered(config, tmp_path):
    names = [create_run(config, name=None).folder.name for _ in range(3)]
    assert names == ["unet", "unet-2", "unet-3"]
    other = load_config(model="deeplab_drn", overrides=[f"runs_dir={config.runs_dir}"])
    assert create_run(other, name=None).folder == tmp_path / "deep" / "runs" / "deeplab_drn"


def test_gaps_in_the_numbers_are_filled(config):
    folders = [create_run(config, name=None).folder for _ in range(3)]
    folders[1].rmdir()
    assert create_run(config, name=None).folder == folders[1]


def test_a_named_run_takes_its_name(config):
    folder = create_run(config, name="größe 1").folder
    assert folder.is_dir()
    assert folder.name == "größe 1"
    assert create_run(config, name="größe 1").folder == folder


def test_a_used_folder_is_refused(config):
    run = create_run(config, name="a")
    run.write_config(config)
    with pytest.raises(
        ConfigError,
        match="runs/a: holds a run already; remove it, or choose another --name",
    ):
        create_run(config, name="a")
    run.last.touch()
    with pytest.raises(
        ConfigError,
        match=r"runs/a: holds a run already; resume it with acdc-train --resume .*runs/a, or "
        r"choose another --name",
    ):
        create_run(config, name="a")


@pytest.mark.parametrize("name", [None, "a"])
def test_a_file_in_the_way_is_named(tmp_path, name):
    (tmp_path / "runs").write_text("")
    with pytest.raises(
        DataError,
        match=r"runs: cannot make a run folder \(.*\); check permissions, or set runs_dir",
    ):
        create_run(Config(runs_dir=str(tmp_path / "runs")), name=name)


@pytest.mark.parametrize("name", [None, "a"])
def test_a_folder_without_permission_is_named(tmp_path, under_permissions, name):
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot make a run folder"):
        create_run(Config(runs_dir=str(tmp_path / "runs")), name=name)


def test_the_written_config_is_read_back(tmp_path):
    config = load_config(model="deeplab_drn", overrides=["data.size=[64, 96]", "train.epochs=3"])
    Run(tmp_path).write_config(config)
    assert load_config(tmp_path / "config.yaml") == config


def test_history_is_a_table(tmp_path):
    run = Run(tmp_path)
    rows = [
        {"epoch": 1, "lr": 0.001},
        {"epoch": 2, "lr": 1 / 3, "dice": 1.0},
        {"epoch": 3, "lr": 1e-7, "dice": 0.123456789},
    ]
    run.write_history(rows)
    assert (
        tmp_path / "history.csv"
    ).read_bytes() == b"epoch,lr,dice\n1,0.001,\n2,0.333333,1\n3,1e-07,0.123457\n"
    run.write_history(rows[:1])
    assert (tmp_path / "history.csv").read_bytes() == b"epoch,lr\n1,0.001\n"


def test_facts_are_added_to_those_before(tmp_path):
    run = Run(tmp_path)
    assert run.read_json() == {}
    run.update_json(status="running", seed=3)
    run.update_json(status="finished", best_dice=0.5)
    assert run.read_json() == {"status": "finished", "seed": 3, "best_dice": 0.5}
    with pytest.raises(ValueError, match="JSON compliant"):
        run.update_json(best_dice=float("nan"))
    assert json.loads((tmp_path / "run.json").read_text()) == {
        "status": "finished",
        "seed": 3,
        "best_dice": 0.5,
    }


def test_checkpoints_have_their_places(tmp_path):
    assert (Run(tmp_path).best, Run(tmp_path).last) == (tmp_path / "best.pt", tmp_path / "last.pt")


def test_the_environment_names_versions(monkeypatch):
    facts = environment()
    assert facts["acdc_seg"] == __version__
    assert facts["libraries"]["numpy"]
    json.dumps(facts)

    def no_git(*args, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert environment()["commit"] is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_damaged_description_is_told(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(
        DataError, match=r"run\.json: damaged; copy it again from its source, or remove it"
    ):
        Run(tmp_path).read_json()
