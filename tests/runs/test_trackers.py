"""Scores and settings arrive at trackers, read back from their own files."""

import json
import struct
from types import SimpleNamespace

import pytest
from tiny_runs import resume_run, stop_after, train_run

from acdc_seg.config import Config, load_config, with_overrides
from acdc_seg.errors import AcdcWarning, ConfigError
from acdc_seg.runs import trackers
from acdc_seg.runs.folder import Run
from acdc_seg.runs.trackers import Trackers, check_trackers, flatten

SHORT = {"train.epochs": 2, "train.batch_size": 2, "train.log_images_interval": 0}


class FakeTracker:
    """Remembers what it is given, and refuses where it is told to."""

    def __init__(self, refuses=""):
        self.active_run = SimpleNamespace(info=SimpleNamespace(run_id="id-1"))
        self.refuses, self.calls = refuses, []

    def _call(self, name, *args):
        if name == self.refuses:
            raise OSError("no route to host\nmore")
        self.calls.append((name, *args))

    def start(self):
        self._call("start")

    def store_init_configuration(self, values):
        self._call("settings", values)

    def log(self, values, step):
        self._call("log", values, step)

    def finish(self):
        self._call("finish")


@pytest.fixture
def fake(monkeypatch):
    """Stands in for MLflow; its `ids` are those that it was opened with."""
    tracker = FakeTracker()
    tracker.ids = []

    def open_fake(run, run_id):
        tracker.ids.append(run_id)
        return tracker

    monkeypatch.setitem(trackers._OPEN, "mlflow", open_fake)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    return tracker


def test_names_of_trackers():
    assert load_config().train.trackers == ("tensorboard",)
    with pytest.raises(ConfigError, match=r"trackers\.1: got 'mlfow'; did you mean 'mlflow'\?"):
        load_config(overrides=["train.trackers=[tensorboard,mlfow]"])


def test_a_missing_package_is_said_before_a_run_folder_is_made(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    check_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match=r"wandb is not installed; .* 'acdc_seg\[wandb\]'"):
        train_run(tiny_config, changes={"train.trackers": ["wandb"]})
    assert not (tmp_path / "runs").exists()


def test_settings_are_plain_values_by_dotted_names():
    tree = {"a": 1, "b": {"c": None, "d": {"e": [1, 2]}, "f": "x"}}
    assert flatten(tree) == {"a": 1, "b.c": "None", "b.d.e": "[1, 2]", "b.f": "x"}


def test_a_training_tells_a_tracker_alone(tiny_config, fake):
    _, run = train_run(tiny_config, changes={**SHORT, "train.trackers": ["mlflow"]})
    kinds = [name for name, *_ in fake.calls]
    assert kinds == ["start", "settings", "log", "log", "finish"]
    assert fake.calls[1][1]["train.batch_size"] == 2
    _, values, step = fake.calls[3]
    assert step == 2
    assert {"loss/train_loss", "loss/val_loss", "dice/dice", "dice/dice_lv", "run/lr"} <= set(
        values
    )
    assert run.read_json()["trackers"] == {"mlflow": "id-1"}
    assert not list(run.folder.glob("events.out.tfevents.*"))


def test_a_resumed_training_continues_its_run(tiny_config, fake):
    changes = {**SHORT, "train.trackers": ["mlflow"], "train.checkpoint_interval_s": 0}
    _, run = train_run(tiny_config, changes=changes, hooks=stop_after(3))
    fake.calls.clear()
    config = with_overrides(tiny_config, {**changes, "name": "run"})
    resume_run(config, run)
    assert fake.ids == [None, "id-1"]
    assert [name for name, *_ in fake.calls] == ["start", "log", "finish"]


def test_a_server_that_is_not_reached_refuses_the_training(tiny_config, fake, tmp_path):
    fake.refuses = "start"
    with pytest.raises(ConfigError, match=r"mlflow cannot be used: no route to host; check"):
        train_run(tiny_config, changes={**SHORT, "train.trackers": ["mlflow"]})
    assert Run(tmp_path / "runs" / "run").read_json()["status"] == "failed"


def test_a_server_that_is_lost_later_does_not_end_it(tiny_config, fake):
    fake.refuses = "log"
    changes = {**SHORT, "train.trackers": ["mlflow"]}
    with pytest.warns(AcdcWarning, match=r"mlflow does not take the scores of epoch 1") as caught:
        _, run = train_run(tiny_config, changes=changes)
    assert len(caught) == 1
    assert run.read_json()["status"] == "finished"


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """The package, with a store of its own."""
    package = pytest.importorskip("mlflow", reason="pip install 'acdc_seg[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    package.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    return package


@pytest.mark.slow
def test_mlflow_has_scores_settings_and_one_run_after_resuming(tiny_config, mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "hearts")
    changes = {
        **SHORT,
        "train.trackers": ["tensorboard", "mlflow"],
        "train.checkpoint_interval_s": 0,
    }
    _, run = train_run(tiny_config, changes=changes, hooks=stop_after(3))
    resume_run(with_overrides(tiny_config, {**changes, "name": "run"}), run)
    (found,) = mlflow.search_runs(experiment_names=["hearts"], output_format="list")
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.info.run_id == run.read_json()["trackers"]["mlflow"]
    assert found.data.params["train.batch_size"] == "2"
    assert found.data.params["model.name"] == "unet"
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "dice/dice")
    assert [entry.step for entry in history] == [1, 2]
    rows = (run.folder / "history.csv").read_text().splitlines()
    column = rows[0].split(",").index("dice")
    assert float(rows[2].split(",")[column]) == pytest.approx(history[1].value, abs=1e-5)
    assert list(run.folder.glob("events.out.tfevents.*"))
    broken = Trackers()
    broken.start(Run(run.folder), run_config(changes))
    broken.finish(failed=True)
    assert mlflow.get_run(found.info.run_id).info.status == "FAILED"


def run_config(changes):
    return with_overrides(Config(), changes)


@pytest.mark.slow
def test_wandb_offline_has_scores_and_settings(tiny_config, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'acdc_seg[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    _, run = train_run(tiny_config, changes={**SHORT, "train.trackers": ["wandb"]})
    records = read_wandb(run)
    assert run.read_json()["trackers"]["wandb"] in {record.run.run_id for record in records}
    settings = {
        update.key: json.loads(update.value_json)
        for record in records
        for update in (*record.run.config.update, *record.config.update)
    }
    assert settings["train.batch_size"] == 2
    rows = [
        {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in records
        if record.history.item
    ]
    assert [json.loads(row["_step"]) for row in rows] == [1, 2]
    assert all(0 <= json.loads(row["dice/dice"]) <= 1 for row in rows)


def read_wandb(run):
    """The records of the file that `wandb sync` sends."""
    from wandb.proto import wandb_internal_pb2

    (path,) = run.folder.glob("wandb/offline-run-*/run-*.wandb")
    records = []
    for data in read_log(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        records.append(record)
    return records


def read_log(content, *, block=32768, file_header=7, chunk_header=7):
    """Entries of a log of LevelDB: blocks of chunks of checksum (4 bytes), length (2) and kind (1),
    where an entry is a whole chunk (1), or a first one (2), others (3) and a last one (4).
    """
    place, entry = file_header, b""
    while place + chunk_header <= len(content):
        left = block - place % block
        if left < chunk_header:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        entry += content[place + chunk_header : place + chunk_header + length]
        place += chunk_header + length
        if kind in (1, 4):
            yield entry
            entry = b""
