import json
from pathlib import Path

import cv2
import pytest
from hearts import write_image
from scenes import draw_scene


@pytest.fixture
def cells(tmp_path):
    """A binary set in RGB with masks of 0 and 255, of several sizes."""
    for number in range(8):
        image, mask = draw_scene(number, height=48 + 4 * number, width=64)
        rgb = cv2.applyColorMap(image, cv2.COLORMAP_JET)
        write_image(tmp_path / f"cells/image/cell_{number:03d}.png", rgb)
        binary = (mask > 1).astype("uint8") * 255
        write_image(tmp_path / f"cells/mask/cell_{number:03d}_mask.png", binary)
    return Path("cells")


def test_clean_data(command, paired_folder, scenes):
    outcome = command("data", "check", scenes)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-3:] == [
        "Patients: patientNNN (e.g. patient001 of patient001_0); data.patient_rule=... to change",
        f"'{scenes}': paired folders, 10 images: 0 errors, 0 warnings",
        f"Next: acdc-train --data '{scenes}'",
    ]


def test_warnings_alone(command, scenes):
    path = scenes / "train/image/patient001_0.png"
    write_image(path, cv2.imread(str(path), 0) * 0)
    outcome = command("data", "check", scenes)
    assert outcome.code == 1
    assert "warning constant: 1 file\n" in outcome.out
    assert "  train/image/patient001_0.png: all pixels are 0\n" in outcome.out
    assert "  remedy: remove the image or export it again\n" in outcome.out
    assert "0 errors, 1 warning\n" in outcome.out


def test_errors_end_with_a_command_that_remedies_them(command, cells):
    outcome = command("data", "check", cells)
    assert outcome.code == 2
    assert "error channels: 8 files\n" in outcome.out
    assert "error mask_scaled: 8 files\n" in outcome.out
    assert "and 5 more" in outcome.out
    assert outcome.out.splitlines()[-2:] == [
        "cells: paired folders, 8 images: 16 errors, 0 warnings",
        "Try: acdc-data check cells data.channels=3 classes=binary",
    ]
    everything = command("data", "check", cells, "--all")
    assert "masks/" not in everything.out
    assert all(f"cell_{number:03d}.png" in everything.out for number in range(8))
    assert command("data", "check", cells, "data.channels=3", "classes=binary").code == 0


def test_training_names_all_settings_at_the_first_try(command, cells, tiny):
    outcome = command("train", "--data", cells, *tiny)
    assert outcome.code == 2
    assert "3 channels where 1 are configured" in outcome.err
    assert "the mask contains value 255" in outcome.err
    last = outcome.err.splitlines()[-1]
    assert last == f"Try: acdc-train --data {cells.resolve()} data.channels=3 classes=binary"
    settings = ("data.channels=3", "classes=binary")
    assert command("train", "--data", cells, *tiny, *settings).code == 0


def test_json(command, cells):
    outcome = command("data", "check", cells, "--json", "-", "data.channels=3")
    assert outcome.code == 2
    report = json.loads(outcome.out)
    assert report["num_errors"] == 8
    assert report["suggested_settings"] == ["classes=binary"]
    assert report["problems"][0] == {
        "path": "cells/mask/cell_000_mask.png",
        "code": "mask_scaled",
        "severity": "error",
        "text": report["problems"][0]["text"],
        "fix": report["problems"][0]["fix"],
        "settings": ["classes=binary"],
    }
    assert report["fingerprint"]["num_images"] == 8
    command("data", "check", cells, "--json", "check.json", "data.channels=3")
    assert json.loads(Path("check.json").read_text()) == report


def test_quick_looks_at_a_sample(command, scenes):
    outcome = command("data", "check", scenes, "--quick")
    assert outcome.code == 0
    assert "paired folders, 10 images looked at: 0 errors" in outcome.out


def test_several_processes_find_the_same(command, scenes, monkeypatch):
    (scenes / "train/image/patient002_1.png").write_bytes(b"")
    alone = command("data", "check", scenes, "--jobs", 1)
    monkeypatch.setattr("acdc_seg.data.check.run.ALONE", {"images": 0, "volumes": 0})
    together = command("data", "check", scenes, "--jobs", 2)
    assert (together.code, together.out) == (alone.code, alone.out) == (2, alone.out)


def test_fix_takes_what_is_offered(command, cells):
    outcome = command("data", "fix", cells, "--out", "copy")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "Read with data.channels=3 classes=binary",
        "Wrote 8 masks anew with the numbers of their classes.",
        "",
        "Wrote copy: 8 images of 8.",
        "Next: acdc-data check copy 'classes=[background,foreground]' data.channels=3",
    ]
    again = command("data", "check", "copy", "classes=[background,foreground]", "data.channels=3")
    assert again.code == 0
    assert command("data", "fix", cells, "--out", "copy").code == 2


def test_fix_says_what_it_leaves_out(command, scenes):
    (scenes / "train/image/patient001_0.png").write_bytes(b"")
    path = scenes / "train/image/patient002_0.png"
    write_image(path, cv2.imread(str(path), 0) * 0)
    outcome = command("data", "fix", scenes, "--out", "copy")
    assert outcome.code == 0
    left_out, left_alone = outcome.out.split("Left as it is")
    assert "error unreadable: 1 file" in left_out
    assert "warning constant: 1 file" in left_alone
    assert "Wrote copy: 9 images of 10." in outcome.out


def test_show(command, scenes):
    outcome = command("data", "show", scenes, "--out", "sheets/all.png", "--num", 6)
    assert (outcome.code, outcome.out) == (0, "Wrote sheets/all.png.\n")
    assert cv2.imread("sheets/all.png").shape[1] > 800
    assert command("data", "show", scenes, "--by", "class").code == 0
    assert Path("sheet.png").is_file()
    refused = command("data", "show", scenes, "--by", "size")
    assert (refused.code, "--by size: choose from: problems, class" in refused.err) == (2, True)


def test_info_as_json(command, scenes):
    outcome = command("data", "info", scenes, "--json", "-")
    facts = json.loads(outcome.out)
    assert (facts["num_images"], facts["num_patients"]) == (10, 5)
    assert set(facts["classes"]) == {"background", "rv", "myo", "lv"}


def test_info_names_errors_at_the_end(command, scenes):
    (scenes / "train/image/patient001_0.png").write_bytes(b"")
    outcome = command("data", "info", scenes)
    assert outcome.code == 2
    assert "10 images of 5 patients" in outcome.out
    assert "patient001_0.png: not a readable image (0 bytes" in outcome.err
