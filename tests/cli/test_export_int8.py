import json
import re

import pytest

onnx = pytest.importorskip("onnx", reason="pip install 'acdc_seg[onnx]'")


def test_int8_prints_what_it_costs(command, trained):
    outcome = command("export", trained, "--int8", "--no-check")
    assert (outcome.code, outcome.err) == (0, "")
    made, cost = outcome.out.splitlines()[-2:]
    assert re.fullmatch(r"int8: calibrated with \d+ images, 0\.\d to 0\.\d MB", made)
    found = re.fullmatch(
        r"Mean Dice of \d+ validation images: fp32 ([\d.]+), int8 ([\d.]+) \(([+-][\d.]+)\)", cost
    )
    before, after, difference = map(float, found.groups())
    assert after - before == pytest.approx(difference, abs=1.1e-4)
    stored = {prop.key: prop.value for prop in onnx.load("model.onnx").metadata_props}
    assert json.loads(stored["int8"])["kind"] == "static"


def test_int8_needs_images(command, trained, tmp_path):
    (tmp_path / "none").mkdir()
    outcome = command("export", trained, "--int8", "--calibrate", tmp_path / "none", "--no-check")
    assert outcome.code == 2
    assert str(tmp_path / "none") in outcome.err
