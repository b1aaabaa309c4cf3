import csv
import json
import os
import signal
import sys
from collections import Counter
from dataclasses import replace

import pytest
from cohorts import find_watched, read_log, wait_for, write_model
from commands import make_command
from volumes import make_labels, save

from acdc_seg.data.exams import find_exams
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.prediction import cohort
from acdc_seg.prediction.case import Outputs, describe_model
from acdc_seg.prediction.cohort import Job, finish_task, predict_cohort

distributed = pytest.importorskip(
    "distributed", reason="distributed is not installed: pip install 'acdc_seg[dask]'"
)


@pytest.fixture(scope="module")
def processes():
    """A scheduler and two worker processes, which are replaced when they die."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture
def threads():
    """A scheduler and a worker in this process."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture
def model(tmp_path):
    cohort._load.cache_clear()
    return write_model(tmp_path / "tiny.pt")


def write_exams(folder, count):
    for number in range(count):
        save(folder / f"case{number}.nii.gz", make_labels(5, num_slices=2))
    return folder


def outputs_of(folder):
    """Times of change of the files of the exams."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("case*.*")}


def test_exams_of_a_killed_worker_are_done_again_and_finished_ones_not(processes, model, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    exams = find_watched(write_exams(tmp_path / "in", 8), log, case1="wait")
    before = {}

    def kill_once(case, done, total):
        if done == 4:
            before.update(outputs_of(out))
            os.kill(wait_for(log, "case1"), signal.SIGKILL)
            log.with_suffix(".go").touch()

    cases = predict_cohort(
        exams, model, out, address=processes.scheduler_address, on_case=kill_once
    )
    ids = [f"case{number}" for number in range(8)]
    assert [(case["id"], case["status"]) for case in cases] == [(name, "done") for name in ids]
    rows = csv.DictReader((out / "measurements.csv").open(encoding="utf-8"))
    assert [row["case"] for row in rows] == ids
    assert sorted(path.name for path in out.glob("*_seg.nii.gz")) == [
        f"{name}_seg.nii.gz" for name in ids
    ]
    assert (out / "report.html").is_file()
    times = Counter(name for name, _ in read_log(log))
    assert times == Counter(ids) + Counter(["case1"])
    assert len(before) >= 3 * 4
    assert before.items() <= outputs_of(out).items()
    # nothing but results is left, and a second call finds them all
    assert not list(out.glob(".*"))
    again = predict_cohort(exams, model, out, address=processes.scheduler_address)
    assert all(case["skipped"] for case in again)
    assert len(read_log(log)) == 9


def test_an_exam_that_kills_every_worker_is_a_failure_of_its_own(processes, model, tmp_path):
    exams = find_watched(write_exams(tmp_path / "in", 2), tmp_path / "log", case0="die")
    before, processes.scheduler.allowed_failures = processes.scheduler.allowed_failures, 0
    try:
        cases = predict_cohort(
            exams[:1], model, tmp_path / "out", address=processes.scheduler_address
        )
    finally:
        processes.scheduler.allowed_failures = before
    assert cases[0]["status"] == "failed"
    assert "every worker that took this exam died" in cases[0]["error"]
    (row,) = csv.DictReader((tmp_path / "out" / "measurements.csv").open(encoding="utf-8"))
    assert row["error"] == cases[0]["error"]


@pytest.fixture
def command(monkeypatch, capsys):
    return make_command(monkeypatch, capsys)


def test_the_command_writes_what_it_writes_alone(threads, model, tmp_path, monkeypatch, command):
    monkeypatch.chdir(write_exams(tmp_path / "work" / "in", 3).parent)
    (tmp_path / "work" / "in" / "case1.nii.gz").write_bytes(b"no image")
    common = ("in", "--model", model.path, "--device", "cpu")
    outcome = command("predict", *common, "--out", "out", "--dask", threads.scheduler_address)
    assert outcome.code == 2
    assert f"3 exams for 1 worker of {threads.scheduler_address}" in outcome.out
    assert "1 of 3 exams failed; see report.html" in outcome.out
    assert command("predict", *common, "--out", "alone").code == 2
    ours, alone = (tmp_path / "work" / name for name in ("out", "alone"))
    for name in ("case0_seg.nii.gz", "case2_seg.nii.gz"):
        assert (ours / name).read_bytes() == (alone / name).read_bytes()
    # a message names the file as its process knows it
    absolute = str(tmp_path / "work" / "in")
    text = (ours / "measurements.csv").read_text(encoding="utf-8").replace(absolute, "in")
    assert text == (alone / "measurements.csv").read_text(encoding="utf-8")
    assert "in/case1.nii.gz: not a readable NIfTI file" in text


def test_shards_leave_table_and_report_to_a_last_call(threads, model, tmp_path, command):
    common = (write_exams(tmp_path / "in", 3), "--model", model.path, "--device", "cpu")
    common += ("--out", tmp_path / "out")
    for shard, options in (("1/2", ()), ("2/2", ("--dask", threads.scheduler_address))):
        outcome = command("predict", *common, "--shard", shard, *options)
        assert outcome.code == 0
        assert f"of shard {shard}" in outcome.out
        assert not (tmp_path / "out" / "measurements.csv").exists()
        assert not (tmp_path / "out" / "report.html").exists()
    before = outputs_of(tmp_path / "out")
    assert len(before) == 3 * 3
    assert command("predict", *common).code == 0
    assert outputs_of(tmp_path / "out") == before
    rows = csv.DictReader((tmp_path / "out" / "measurements.csv").open(encoding="utf-8"))
    assert [row["case"] for row in rows] == ["case0", "case1", "case2"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_scheduler_holds_few_tasks_at_a_time(threads, model, tmp_path, monkeypatch):
    monkeypatch.setattr(cohort, "MIN_IN_FLIGHT", 2)
    monkeypatch.setattr(cohort, "PER_THREAD", 2)
    exams = find_exams([write_exams(tmp_path / "in", 7)])
    held = []

    def count(case, done, total):
        held.append(len(threads.scheduler.tasks))

    predict_cohort(exams, model, tmp_path / "out", address=threads.scheduler_address, on_case=count)
    assert len(held) == 7
    assert max(held) <= 3  # one may be on its way out


def test_an_interrupt_keeps_finished_exams(threads, model, tmp_path):
    exams = find_exams([write_exams(tmp_path / "in", 4)])

    def interrupt(case, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cohort(
            exams, model, tmp_path / "out", address=threads.scheduler_address, on_case=interrupt
        )
    assert not (tmp_path / "out" / "measurements.csv").exists()
    cases = predict_cohort(exams, model, tmp_path / "out", address=threads.scheduler_address)
    assert [case["status"] for case in cases] == ["done"] * 4
    assert any(case.get("skipped") for case in cases)


def test_a_scheduler_that_ends_leaves_what_is_finished(
    threads, model, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(cohort, "CONNECT_S", 0.5)
    exams = find_exams([write_exams(tmp_path / "in", 4)])
    address = threads.scheduler_address
    with pytest.raises(ConfigError, match="the dask scheduler is gone; finished exams are kept"):
        predict_cohort(
            exams,
            model,
            tmp_path / "out",
            address=address,
            on_case=lambda case, done, total: threads.close(),
        )
    assert (tmp_path / "out" / "case0_seg.nii.gz").is_file()
    assert not (tmp_path / "out" / "measurements.csv").exists()
    assert not [record for record in caplog.records if record.name == "distributed.client"]


def test_without_scheduler_or_dask(model, tmp_path, monkeypatch):
    monkeypatch.setattr(cohort, "CONNECT_S", 0.3)
    exams = find_exams([write_exams(tmp_path / "in", 1)])
    for address in ("tcp://127.0.0.1:1", "nowhere", "", "ftp://127.0.0.1:1"):
        with pytest.raises(ConfigError, match=f"--dask {address}: no dask scheduler answers"):
            predict_cohort(exams, model, tmp_path / "out", address=address)
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'acdc_seg\[dask\]'"):
        predict_cohort(exams, model, tmp_path / "out", address="tcp://127.0.0.1:1")


def test_a_scheduler_is_found_by_its_file(threads, model, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": threads.scheduler_address, "id": "s", "type": "S"}))
    exams = find_exams([write_exams(tmp_path / "in", 1)])
    (case,) = predict_cohort(exams, model, tmp_path / "out", address=str(file))
    assert case["status"] == "done"


def test_workers_that_differ_from_the_command(model, tmp_path):
    (exam,) = find_exams([write_exams(tmp_path / "in", 1)])
    description = str(describe_model(model.load()))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "token").touch()
    job = Job(model, description, tmp_path / "out", "token", Outputs())
    assert finish_task(exam, job)["status"] == "done"
    with pytest.raises(ConfigError, match=r"has acdc_seg .*, the command 9\.9"):
        finish_task(exam, replace(job, version="9.9"))
    with pytest.raises(ConfigError, match="does not see the files of the command"):
        finish_task(exam, replace(job, token="other"))
    with pytest.raises(ConfigError, match="has another model"):
        finish_task(exam, replace(job, description="other"))
    exam.paths[0].unlink()
    with pytest.raises(DataError, match=r"has no .*case0\.nii\.gz; all machines must see"):
        finish_task(exam, job)


def test_a_worker_without_the_files_stops_the_command(threads, model, tmp_path, monkeypatch):
    exams = find_exams([write_exams(tmp_path / "in", 2)])
    exams[0].paths[0].unlink()
    cases = predict_cohort(exams, model, tmp_path / "out", address=threads.scheduler_address)
    assert [case["status"] for case in cases] == ["failed", "done"]
    assert cases[0]["error"].endswith("case0.nii.gz: the file is missing")

    def blind(exam, job):
        raise DataError(f"no {exam.id} here")

    monkeypatch.setattr(cohort, "finish_task", blind)
    with pytest.raises(ConfigError, match="no case1 here"):
        predict_cohort(exams[1:], model, tmp_path / "out", address=threads.scheduler_address)
