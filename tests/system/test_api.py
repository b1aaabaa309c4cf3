"""The public functions, and the README's notebook."""

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import acdc_seg

README = Path(__file__).parents[2] / "README.md"


def readme_example():
    section = README.read_text(encoding="utf-8").partition("## Python API")[2]
    (code,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return code


def test_the_readme_trains_scores_predicts_and_submits(paired_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    slices = shutil.copytree(paired_folder, tmp_path / "data" / "slices")
    for kind, old, new in (
        ("image", "patient004_0.png", "cmr121.png"),
        ("mask", "patient004_0_mask.png", "cmr121_mask.png"),
    ):
        (slices / "test" / kind / old).rename(slices / "test" / kind / new)
    code = readme_example()
    assert len(code.splitlines()) <= 15
    names = {}
    exec(code.replace("train.epochs=20", "train.epochs=1"), names)
    assert Path("runs/unet/best.pt").is_file()
    assert names["result"].dice == pytest.approx(names["result"].history[-1]["dice"])
    assert names["probabilities"].shape == (4, 48, 48)
    np.testing.assert_allclose(names["probabilities"].sum(0), 1, atol=1e-3)
    assert names["left_ventricle"].dtype == bool
    written = Path("submission.csv").read_text().splitlines()
    assert written[0] == "id,encoding"
    assert [line.partition(",")[0] for line in written[1:]] == [row[0] for row in names["rows"]]
    assert len(written) == 1 + 2 * 3


def test_every_name_is_a_function_whatever_was_imported_before():
    code = (
        "import acdc_seg.training.loop, acdc_seg.evaluation, acdc_seg.cli.train\n"
        "import acdc_seg\n"
        "print(*(name for name in acdc_seg.__all__ if callable(getattr(acdc_seg, name))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == acdc_seg.__all__
    assert all(inspect.getdoc(getattr(acdc_seg, name)) for name in acdc_seg.__all__)
    assert set(acdc_seg.__all__) <= set(dir(acdc_seg))


def test_the_package_is_imported_without_the_heavy_libraries():
    code = "import sys, acdc_seg; print({'torch', 'numpy', 'monai', 'cv2'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'acdc_seg' has no attribute 'trian'"):
        acdc_seg.trian  # noqa: B018
