from pathlib import Path

from reports import make_scores, read_page

from acdc_seg.report.comparison import write_comparison
from acdc_seg.report.paired import compare, rank
from acdc_seg.report.reported import ReportedRun

HISTORY = [{"epoch": 1, "val_loss": 0.8, "dice": 0.5}, {"epoch": 2, "val_loss": 0.6, "dice": 0.7}]


def make_run(name, *, history=(), protocol=None, **options):
    scores, evidence = make_scores(name, **options)
    scores.content["protocol"] = protocol or {}
    return ReportedRun(Path("runs") / name, None, {}, list(history), scores), evidence


def write(tmp_path, *made, notes=()):
    runs = rank([run for run, _ in made])
    evidence = {run.folder: pictures for run, pictures in made if pictures}
    write_comparison(tmp_path / "c.html", runs, evidence=evidence, notes=notes)
    return read_page(tmp_path / "c.html"), runs


def test_which_is_better_how_sure_and_where_it_fails(tmp_path):
    made = [make_run("bad", error=2, history=HISTORY), make_run("good", error=1, history=HISTORY)]
    page, (good, bad) = write(tmp_path, *made)
    assert page.text.startswith("good against bad good against bad Dice on the same 7 slices")
    assert "good is better than bad: Dice" in page.text
    assert "Where good fails: its weakest class is" in page.text
    assert "its worst slice p2_1" in page.text
    table, images = page.tables[:2]
    difference = compare(good.scores, bad.scores)
    low, high = (-end for end in reversed(difference.interval))
    assert [row[0] for row in table] == ["Run", "good", "bad"]
    assert table[1][2:6][0] == f"{good.scores.headline:.3f}"
    assert table[1][4:6] == ["", ""]
    assert table[2][4:6] == [f"{-difference.mean:+.4f}", f"{low:+.4f} to {high:+.4f}"]
    assert images[0] == ["Slice", "Patient", "good", "bad", "spread"]
    assert images[1][0] == "p2_1"
    assert page.viewer["runs"] == ["good", "bad"]
    for caption in ("Dice by class", "good minus bad, by patient", "Validation loss"):
        assert caption in page.text


def test_runs_without_pictures_and_histories_are_compared_all_the_same(tmp_path):
    (first, _), second = make_run("a"), make_run("b", error=1)
    page, _ = write(tmp_path, (first, None), second, notes=["No pictures of a: gone"])
    assert page.viewer["runs"] == ["b"]
    assert "No pictures of a: gone" in page.text
    assert "Validation loss" not in page.text


def test_leaks_and_other_data_are_said(tmp_path):
    leaky = make_run("a", protocol={"num_seen_images": 3, "data_sha256": "1"})
    page, _ = write(tmp_path, leaky, make_run("b", error=1, protocol={"data_sha256": "2"}))
    assert "a was trained on 3 of its images" in page.text
    assert "data that differs" in page.text
