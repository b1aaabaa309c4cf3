import json
from dataclasses import replace

import pytest
from reports import make_scores, read_page

from acdc_seg.config import Config, load_config, with_overrides
from acdc_seg.errors import AcdcWarning, DataError
from acdc_seg.report.run_page import write_run_page
from acdc_seg.report.tables import class_table

HISTORY = [
    {"epoch": 1, "train_loss": 0.9, "val_loss": 0.8, "dice": 0.5, "dice_rv": 0.5},
    {"epoch": 2, "train_loss": 0.7, "val_loss": 0.6, "dice": 0.7, "dice_rv": 0.7},
]
RUN = {
    "status": "finished",
    "data": "paired",
    "num_images": {"train": 1, "val": 7},
    "num_patients": {"train": 1, "val": 3},
    "seconds": 3725.4,
    "num_threads": 2,
    "libraries": {"torch": "2.13.0"},
}
CONFIG = load_config(model="unet", overrides=["data.path=/data/hearts", "optimizer.lr=0.5"])


def write(folder, *, error=1, config=CONFIG, **changes):
    folder = folder / "unet"
    scores, evidence = make_scores(error=error)
    options = {"run": RUN, "history": HISTORY, "content": scores.content, "evidence": evidence}
    write_run_page(folder, config, **(options | changes))
    return read_page(folder / "report.html"), scores


def test_the_headline_has_its_interval_its_level_and_its_policy(tmp_path):
    page, scores = write(tmp_path)
    low, high = scores.interval()
    interval = f"95 % interval {low:.3f} to {high:.3f}"
    assert f"Mean Dice {scores.headline:.3f} {interval} over slices IoU" in page.text
    assert "Dice of each slice, mean over 7 slices of 3 patients and the foreground" in page.text
    assert "A class that is empty in truth and prediction scores 1" in page.text
    assert "not a medical device" in page.text


def test_words_come_from_the_classes_and_the_data(tmp_path):
    page, _ = write(tmp_path)
    assert "Segmentation of rv, myo and lv with unet, trained on /data/hearts" in page.text
    assert "1 image of 1 patient" in page.text
    assert "cardiac" not in page.text
    for label in ("Threads 2", "Duration 1 h 2 min 5 s", "Data format paired", "Torch 2.13.0"):
        assert label in page.text
    assert "num_threads 2" not in page.text.replace("train.num_threads", "")


def test_tables_begin_with_the_worst_and_their_rows_open_the_viewer(tmp_path):
    page, scores = write(tmp_path)
    classes, levels, patients, images, *_ = page.tables
    assert classes[0] == ["", "mean", "rv", "myo", "lv"]
    assert [row[0] for row in classes[1:3]] == ["Dice", "IoU"]
    assert [row[0] for row in classes[-2:]] == ["Missed", "Invented"]
    assert [row[0] for row in levels[1:]] == ["by slice", "by patient", "phase ED", "phase ES"]
    assert patients[0] == ["Patient", "Slices", "Mean Dice", "Worst", "rv", "myo", "lv"]
    assert sorted(row[:2] for row in patients[1:]) == [["p0", "2"], ["p1", "2"], ["p2", "3"]]
    means = [float(row[2]) for row in patients[1:]]
    assert means == sorted(means)
    assert images[0] == ["Slice", "Patient", "Phase", "Mean Dice", "rv", "myo", "lv"]
    assert images[1][:3] == ["p2_1", "p2", "ES"]
    assert images[1][3] == f"{scores.mean('p2_1'):.3f}"
    means = [float(row[3]) for row in images[1:]]
    assert means == sorted(means)
    assert {case["id"] for case in page.viewer["cases"]} == set(page.cases)
    assert len(page.viewer["cases"]) == 7


def test_volumes_are_the_headline_where_there_are_volumes(tmp_path):
    scores, evidence = make_scores(error=1, volumes=True)
    page, _ = write(tmp_path, content=scores.content, evidence=evidence)
    assert f"Mean Dice {scores.headline:.3f}" in page.text
    assert "Dice of each volume, mean over 3 volumes of 3 patients" in page.text
    assert [row[0] for row in page.tables[1][1:3]] == ["by slice", "by volume"]


def test_many_classes_are_rows():
    scores, _ = make_scores()
    names = [f"c{number}" for number in range(9)]
    level = scores.content["levels"]["slice"]
    level |= {"classes": dict.fromkeys(names, level["classes"]["rv"])}
    many = replace(scores, classes=names)
    content = class_table(many)
    assert [heading["text"] for heading in content["headings"]][:2] == ["", "Dice"]
    assert [line["cells"][0] for line in content["rows"]] == ["mean", *names]


def test_settings_that_differ_from_the_recipe_come_first(tmp_path):
    page, _ = write(tmp_path)
    settings = next(rows for rows in page.tables if rows[0] == ["Setting", "Recipe", "This run"])
    recipe = load_config(model="unet")
    assert settings[1:] == [
        ["data.path", "null", "/data/hearts"],
        ["optimizer.lr", str(recipe.optimizer.lr), "0.5"],
    ]
    page, _ = write(tmp_path, config=load_config(model="unet"))
    assert "The recipe of unet, unchanged." in page.text


def test_the_page_needs_no_network_and_repeats(tmp_path):
    page, _ = write(tmp_path)
    html = (tmp_path / "unet" / "report.html").read_text()
    assert page.links == ["data:,"]
    assert "http://" not in html
    assert "https://" not in html
    assert "default-src 'none'" in html
    write(tmp_path)
    assert (tmp_path / "unet" / "report.html").read_text() == html


def test_figures_are_on_the_page_and_in_files(tmp_path):
    write(tmp_path)
    names = {path.name for path in (tmp_path / "unet" / "figures").iterdir()}
    stems = ("loss", "dice", "scores", "confusion", "calibration", "cases")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert (tmp_path / "unet" / "report.html").read_text().count("<svg") == 5


def test_a_figure_that_fails_costs_a_warning_and_not_the_page(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("no ink")

    monkeypatch.setattr("acdc_seg.report.run_page.draw_losses", fail)
    with pytest.warns(AcdcWarning, match=r"loss: this figure cannot be drawn \(Runtime.*: no ink"):
        page, _ = write(tmp_path)
    assert "Validation Dice" in page.text


def test_calibration_in_words(tmp_path):
    page, scores = write(tmp_path)
    assert "The expected calibration error (ECE) is" in page.text
    found = {"ece": 0.25, "temperature": 0.5, "scaled_ece": 0.125, "pixels": 5000}
    bins = [{"confidence": 0.75, "accuracy": 1.0, "n": 5000}]
    content = scores.content | {"calibration": found | {"bins": bins, "scaled_bins": bins}}
    page, _ = write(tmp_path, content=content)
    assert "is 0.250" in page.text
    assert "less sure than it could be" in page.text
    assert "temperature of 0.50 the error would be 0.125" in page.text


def test_one_class_is_not_shown_twice(tmp_path):
    scores, _ = make_scores()
    content = json.loads(json.dumps(scores.content))
    content["classes"] = {"rv": content["classes"]["rv"]}
    for image in content["images"]:
        image |= {"dice": {"rv": image["dice"]["rv"]}, "iou": {"rv": image["iou"]["rv"]}}
    config = with_overrides(
        CONFIG,
        {
            "classes.names": ["background", "rv"],
            "classes.values": [0, 1],
            "classes.colors": [[0, 0, 0], [1, 2, 3]],
        },
    )
    page, _ = write(tmp_path, config=config, content=content, evidence=None)
    assert page.text.count("rv Dice") == 1
    assert "Mean Dice" not in page.text.split("Scores")[0]
    assert "Segmentation of rv with unet" in page.text


def test_a_run_without_scores_has_a_page(tmp_path):
    page, _ = write(tmp_path, content=None, evidence=None, run={}, config=Config())
    assert "of the last epoch; nothing validated them" in page.text
    assert "synthetic phantom" in page.text
    assert page.viewer is None
    page, _ = write(tmp_path, content=None, evidence=None, run={}, history=[])
    assert "Training" not in page.text


def test_missing_pictures_are_explained(tmp_path):
    page, _ = write(tmp_path, evidence=None, no_pictures="The data is gone.")
    assert "The data is gone." in page.text
    assert page.viewer is None


def test_texts_are_escaped(tmp_path):
    scores, evidence = make_scores()
    content = json.loads(json.dumps(scores.content))
    content["images"][0]["id"] = "</script><script>alert(1)</script>"
    config = with_overrides(CONFIG, {"data.path": "größe/<i>"})
    folder = tmp_path / "A & B <b>"
    write_run_page(folder, config, run=RUN, history=HISTORY, content=content, evidence=evidence)
    html = (folder / "report.html").read_text()
    assert "alert(1)</script>" not in html
    page = read_page(folder / "report.html")
    assert "A & B <b>" in page.text
    assert "größe/<i>" in page.text


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "unet").touch()
    with (
        pytest.warns(AcdcWarning, match="cannot be drawn"),
        pytest.raises(DataError, match=r"report\.html: cannot write"),
    ):
        write(tmp_path)
